"""Path length (Karras et al. 2019): how far samples move, in an extractor's eyes, as the latent moves a little.

E ‖φ(G(z(t + ε))) − φ(G(z(t)))‖² / ε² over pairs of latents and t in [0, 1). The paper's distance is
LPIPS of a VGG network; this one is the squared distance of the extractor's features, and is named for
it: `path_length_<extractor>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import randomness
from pipeline.contract import Latent, draw_latents
from pipeline.contract.extractor import AnyExtractor, ExtractorIdentity
from pipeline.contract.metric import Score
from pipeline.errors import UserError
from pipeline.sampling.samples import CHUNK, SampleSource
from pipeline.scoring.settings import PathLengthSettings
from pipeline.threads import fixed_threads

MOVING = ("normal", "uniform")


def path_length(
    source: SampleSource,
    extractor: AnyExtractor,
    identity: ExtractorIdentity,
    settings: PathLengthSettings,
    seed: int,
    *,
    threads: int = 1,
    truncation: float = 1.0,
) -> Score:
    """The mean over steps, the extremes left out.

    Raises:
        UserError: for latents that cannot be moved by a little.
    """
    # Features of pixels that were not rounded: a step is far smaller than a shade of grey.
    with fixed_threads(threads):
        found = path_lengths(source, extractor.smooth, settings, seed, truncation)
    low, high = np.quantile(found, [settings.trim, 1 - settings.trim], method="inverted_cdf")
    kept = found[(found >= low) & (found <= high)]
    note = f"squared feature distance over ε², ε = {settings.epsilon:g}; not LPIPS"
    if np.quantile(found, 0.5) == 0:
        raise UserError("the path length is 0: the extractor does not see steps so small; raise its epsilon")
    told: dict[str, Any] = {"note": note, "settings": settings.model_dump(mode="json")}
    return Score(f"path_length_{identity.name}", float(kept.mean()), 0, len(found), None, **told)


@torch.no_grad()
def path_lengths(
    source: SampleSource,
    see: Callable[[Tensor], Tensor],
    settings: PathLengthSettings,
    seed: int,
    truncation: float = 1.0,
) -> NDArray[np.float64]:
    """One value a step, (samples,): see(x) are features (n, d) of float samples (n, *shape)."""
    still = [latent.name for latent in source.noise if latent.distribution not in MOVING]
    if still:
        raise UserError(f"the path length needs latents that move by degrees, and '{still[0]}' jumps")
    values: list[NDArray[np.float64]] = []
    for chunk in range(-(-settings.samples // CHUNK)):
        ends = [
            draw_latents(source.noise, CHUNK, randomness.generator(seed, f"path_length/{end}", chunk))
            for end in ("from", "to")
        ]
        share = torch.rand(CHUNK, generator=randomness.generator(seed, "path_length/share", chunk), dtype=torch.float64)
        labels = source.default_labels(CHUNK, chunk * CHUNK)
        seen: list[Tensor] = []
        for t in (share, share + settings.epsilon):
            moved = {each.name: on_the_way(each, ends[0][each.name], ends[1][each.name], t) for each in source.noise}
            seen.append(see(source.decode(moved, labels, truncation)).double())
        values.append(((seen[1] - seen[0]) ** 2).sum(dim=1).div(settings.epsilon**2).cpu().numpy())
    return np.concatenate(values)


def on_the_way(latent: Latent, a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Latents (n, *shape) at `share` (n,) of the way from `a` to `b`: on the sphere where they are normal."""
    t = share.reshape(-1, *[1] * (a.ndim - 1))
    x, y = a.double(), b.double()
    if latent.distribution == "uniform":
        return ((1 - t) * x + t * y).float()
    flat = x.flatten(1), y.flatten(1)
    cosine = (flat[0] * flat[1]).sum(dim=1) / (flat[0].norm(dim=1) * flat[1].norm(dim=1)).clamp_min(1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1)).reshape(t.shape)
    sine = torch.sin(angle)
    straight = (1 - t) * x + t * y
    round_ = (torch.sin((1 - t) * angle) * x + torch.sin(t * angle) * y) / sine.clamp_min(1e-12)
    return torch.where(sine < 1e-4, straight, round_).float()
