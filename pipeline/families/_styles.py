"""What the style-based designs share: mixed styles in training, and what people do with w afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor

from pipeline import randomness
from pipeline.contract import Networks, Turn
from pipeline.errors import UserError
from pipeline.networks.blocks.mapping import StyleGenerator
from pipeline.networks.layers.noise import Noise

SampleNoise = Literal["const", "random", "none"]


def generator_of(networks: Networks) -> StyleGenerator:
    """The style-based generator among the networks."""
    return cast(StyleGenerator, networks["generator"])


def training_styles(turn: Turn, label: Tensor | None, mixing: float, layers: int | None = None) -> Tensor:
    """ws (n, layers, width) of the turn's noise; with probability `mixing` the layers behind a cut are another's.

    Karras et al. 2019, section 3.1. One cut a lane, among the first `layers` in use. The mean of w
    follows the turn's own noise alone.
    """
    generator, z = generator_of(turn.networks), turn.latents["z"]
    w = generator.mapping(z, label)
    generator.mean.track(w)
    ws = w[:, None].expand(-1, generator.layers, -1)
    used = generator.layers if layers is None else layers
    source = turn.generator("mixing")
    if used < 2 or not float(torch.rand((), generator=source)) < mixing:
        return ws
    cut = int(torch.randint(1, used, (), generator=source))
    other = generator.mapping(torch.randn(z.shape, generator=source).to(z), label)
    return torch.cat([ws[:, :cut], other[:, None].expand(-1, generator.layers - cut, -1)], dim=1)


def sampling_noise(kind: SampleNoise, z: Tensor) -> Noise:
    """Noise for samples: `random` is drawn by a key made of the latents, so that equal z give equal images."""
    if kind != "random":
        return kind
    digest = hashlib.blake2b(z.detach().float().cpu().contiguous().numpy().tobytes(), digest_size=8).hexdigest()
    return randomness.generator(0, f"noise/{digest}")


# --- procedures -------------------------------------------------------------------------------


def procedures() -> dict[str, Callable[..., Any]]:
    """`map`, `synthesis`, `style_mixing`, `truncation_sweep` and `project`, each called with the networks first."""
    return {
        "map": map_latents,
        "synthesis": synthesis,
        "style_mixing": style_mixing,
        "truncation_sweep": truncation_sweep,
        "project": project,
    }


@torch.no_grad()
def map_latents(networks: Networks, z: Tensor, label: Tensor | None = None, truncation: float = 1.0) -> Tensor:
    """ws (n, layers, width) of noise z (n, latent)."""
    return generator_of(networks).styles(z, label, truncation)


@torch.no_grad()
def synthesis(networks: Networks, ws: Tensor) -> Tensor:
    """Images (n, C, H, W) in [-1, 1] of ws (n, layers, width), without noise."""
    return generator_of(networks).synthesis(ws).clamp(-1, 1)


@torch.no_grad()
def style_mixing(
    networks: Networks,
    coarse: Tensor,
    fine: Tensor,
    *,
    layers: tuple[int, int],
    label: Tensor | None = None,
    truncation: float = 1.0,
) -> Tensor:
    """Images (rows, columns, C, H, W): row i is coarse[i], but layers start … stop − 1 are those of fine[j].

    coarse (rows, latent), fine (columns, latent); label (rows,) goes with the rows and, for the
    columns' styles, is repeated. Karras et al. 2019, figure 3: low layers hold pose and shape, high
    ones colour and texture.

    Raises:
        UserError: for a range outside the generator's layers.
    """
    generator = generator_of(networks)
    start, stop = layers
    if not 0 <= start < stop <= generator.layers:
        raise UserError(f"layers: [{start}, {stop}) is no range of this generator's {generator.layers} layers")
    rows: list[Tensor] = []
    for row in range(len(coarse)):
        own = None if label is None else label[row : row + 1]
        ws = generator.styles(coarse[row : row + 1], own, truncation).repeat(len(fine), 1, 1)
        others = generator.styles(fine, None if own is None else own.repeat(len(fine)), truncation)
        ws[:, start:stop] = others[:, start:stop]
        rows.append(generator.synthesis(ws).clamp(-1, 1))
    return torch.stack(rows)


@torch.no_grad()
def truncation_sweep(
    networks: Networks, z: Tensor, *, values: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0), label: Tensor | None = None
) -> Tensor:
    """Images (values, n, C, H, W) of the same noise z (n, latent) at each ψ: from the mean face to the full spread."""
    generator = generator_of(networks)
    return torch.stack([generator.synthesis(generator.styles(z, label, psi)).clamp(-1, 1) for psi in values])


def project(
    networks: Networks,
    x: Tensor,
    *,
    label: Tensor | None = None,
    steps: int = 300,
    lr: float = 0.1,
    seed: int = 0,
    distance: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """The w whose image is nearest to each real image x (n, C, H, W) in [-1, 1], one w for all layers.

    Karras et al. 2020, appendix D: Adam from the mean of w, noise of falling strength added to w for
    the first ¾, the learning rate raised over the first 5 % and lowered over the last 25 %. `distance`
    (images, x) → (n,) stands for the paper's LPIPS; by default the mean square over pixels at three scales.

    Returns:
        `ws` (n, layers, width), `images` (n, C, H, W), and `error` (n,): the mean squared difference
        of pixels in [-1, 1], whatever was minimised.
    """
    generator, apart = generator_of(networks), distance or _pyramid
    device = x.device
    with torch.no_grad():
        z = torch.randn((1024, _latent(generator)), generator=randomness.generator(seed, "project/spread"))
        labels = None if label is None else label.repeat(-(-1024 // len(label)))[:1024]
        spread = generator.mapping(z.to(device), labels)
        centre = spread.mean(dim=0)
        deviation = (spread - centre).square().sum(dim=1).mean().sqrt()
    w = centre.repeat(len(x), 1).requires_grad_(True)
    optimiser = torch.optim.Adam([w], lr=lr, betas=(0.9, 0.999))
    for step in range(steps):
        share = step / steps
        optimiser.param_groups[0]["lr"] = lr * _ramp(share)
        strength = deviation * 0.05 * max(0.0, 1 - share / 0.75) ** 2
        noise = torch.randn(w.shape, generator=randomness.generator(seed, "project/noise", step)).to(device)
        images = generator.synthesis((w + noise * strength)[:, None].expand(-1, generator.layers, -1))
        (w.grad,) = torch.autograd.grad(apart(images, x).sum(), [w])
        optimiser.step()
    with torch.no_grad():
        ws = w.detach()[:, None].repeat(1, generator.layers, 1)
        images = generator.synthesis(ws).clamp(-1, 1)
        return {"ws": ws, "images": images, "error": (images - x).square().flatten(1).mean(dim=1)}


def _latent(generator: StyleGenerator) -> int:
    return int(cast(int, generator.mapping.latent))


def _ramp(share: float) -> float:
    return min(1.0, (share + 1e-3) / 0.05) * min(1.0, (1 - share) / 0.25)


def _pyramid(images: Tensor, x: Tensor) -> Tensor:
    total = (images - x).square().flatten(1).mean(dim=1)
    for _ in range(2):
        if min(x.shape[2:]) < 2:
            break
        images, x = (torch.nn.functional.avg_pool2d(each, 2) for each in (images, x))
        total = total + (images - x).square().flatten(1).mean(dim=1)
    return total
