"""Projection: the latents whose sample is nearest to a given picture, and how near that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline import limits
from pipeline.errors import UserError
from pipeline.explorations import _pictures, _shared
from pipeline.sampling.samples import Pixels, SampleSource, evaluating, fixed_threads, pixels
from pipeline.settings import LocalPath
from pipeline.types import Batch


class Config(_shared.Labelled):
    """Several starts for every picture; the best of them is the answer."""

    images: LocalPath = Field(description="a picture, or a folder of them")
    limit: int = Field(default=8, ge=1, le=64, description="pictures taken of a folder, in the order of their names")
    candidates: int = Field(default=8, ge=1, le=64, description="starts a picture; with classes, each class in turn")
    steps: int = Field(default=300, ge=1)
    lr: float = Field(default=0.05, gt=0, description="Adam's")
    space: Literal["auto", "noise", "style"] = Field(
        default="auto", description="what is moved: the noise, or w where the design has styles (auto: w where it has)"
    )
    prior: float = Field(default=0.01, ge=0, description="weight of ‖z‖²/d being far from 1, where noise is normal")
    seed: int = Field(default=0, ge=0)
    max_pixels: int = Field(
        default=limits.ITEM_PIXELS, ge=1, le=limits.MOST_PIXELS, description="of a picture; a larger one is refused"
    )


class Exploration:
    """Zhu et al. 2016 by gradient alone: min over z of ‖G(z) − x‖² + λ (‖z‖²/d − 1)², x and G(z) in [−1, 1].

    Designs with styles move w instead, as their own procedure `project` does (Karras et al. 2020, appendix D).
    """

    modalities = _shared.PICTURES

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        config = self.config
        count = config.candidates
        label = _shared.chosen_labels(source, count, config)
        found = _pictures.read(Path(config.images), config.limit, config.max_pixels, source.spec)
        pictures, names = np.stack([each.pixels for each in found]), [each.name for each in found]
        start = _shared.noise(source, config.seed, count)
        fitted = self._styled if self._by_style(source) else self._fitted
        best: list[Pixels] = []
        records: list[dict[str, object]] = []
        kept: list[dict[str, Tensor]] = []
        for name, picture in zip(names, pictures, strict=True):
            latents, made, errors = fitted(source, start, label, picture)
            first = int(errors.argmin())
            best.append(pixels(made[first : first + 1])[0])
            kept.append({key: value[first] for key, value in latents.items()})
            # Of what is seen: rounded to whole grey levels.
            error = float((np.asarray(best[-1], float) - np.asarray(picture, float)).__pow__(2).mean())
            records.append(
                {
                    "image": name,
                    "root_mean_squared_error_in_grey_levels": math.sqrt(error),
                    "psnr_db": None if error == 0 else 10 * math.log10(255**2 / error),
                    "candidate": first,
                    "label": None if label is None else source.spec.classes[int(self._tried(source, label)[first])],
                }
            )
        arrays = {f"latents_{key}": np.stack([each[key].numpy() for each in kept]) for key in kept[0]}
        return _shared.Findings(
            {"projection": np.stack([pictures, np.stack(best)])},
            {"rows": ["picture", "nearest sample"], "pictures": records},
            arrays,
        )

    def _tried(self, source: SampleSource, label: Tensor) -> Tensor:
        """The candidates' labels."""
        return label.unique() if self._by_style(source) else label

    def _by_style(self, source: SampleSource) -> bool:
        """Whether w is moved.

        Raises:
            UserError: if it is asked for and there is none.
        """
        known = "project" in source.family.procedures()
        if self.config.space == "style" and not known:
            raise UserError(f"space: {_shared.design(source)} has no styles; take noise")
        return known and self.config.space != "noise"

    def _styled(
        self, source: SampleSource, start: Mapping[str, Tensor], label: Tensor | None, picture: Pixels
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """As `_fitted`; every class asked for is one candidate."""
        labels = None if label is None else label.unique().to(source.device)
        target = torch.from_numpy(picture).to(source.device).float().div(127.5).sub(1)[None]
        count = 1 if labels is None else len(labels)
        with fixed_threads(source.threads), evaluating(source.networks):
            found: dict[str, Tensor] = source.family.procedures()["project"](
                source.networks,
                target.expand(count, *target.shape[1:]),
                label=labels,
                steps=self.config.steps,
                lr=self.config.lr,
                seed=self.config.seed,
            )
        return {"w": found["ws"].cpu()}, found["images"].cpu(), found["error"].cpu()

    def _fitted(
        self, source: SampleSource, start: Mapping[str, Tensor], label: Tensor | None, picture: Pixels
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Latents, samples and squared errors (candidates,) after the last step, on the CPU.

        Raises:
            UserError: for a design without continuous noise.
        """
        config, device = self.config, source.device
        target = torch.from_numpy(picture).to(device).float().div(127.5).sub(1)[None]
        moving = {latent.name: latent for latent in _shared.of(source) if latent.distribution in ("normal", "uniform")}
        free = {name: _free(start[name].to(device), latent.distribution) for name, latent in moving.items()}
        if not free:
            raise UserError(f"projection: {_shared.design(source)} draws no continuous noise")
        fixed = {name: value.to(device) for name, value in start.items() if name not in moving}
        condition: Batch = {} if label is None else {"label": label.to(device)}
        optimiser = torch.optim.Adam(free.values(), lr=config.lr)
        normal = [name for name, latent in moving.items() if latent.distribution == "normal"]

        def look() -> tuple[dict[str, Tensor], Tensor, Tensor]:
            found = {name: _bound(value, moving[name].distribution) for name, value in free.items()}
            made = source.family.sample(source.networks, {**found, **fixed}, condition)
            return found, made, (made - target).square().flatten(1).mean(1)

        with fixed_threads(source.threads), evaluating(source.networks):
            for _ in range(config.steps):
                found, _, errors = look()
                away = [found[name].flatten(1).square().mean(1).sub(1).square().sum() for name in normal]
                loss = errors.sum() + config.prior * sum(away)
                optimiser.zero_grad()
                for value, grad in zip(free.values(), torch.autograd.grad(loss, list(free.values())), strict=True):
                    value.grad = grad
                optimiser.step()
            found, made, errors = look()
        latents = {name: value.detach().cpu() for name, value in {**found, **fixed}.items()}
        return latents, made.detach().cpu(), errors.detach().cpu()


def _free(value: Tensor, distribution: str) -> Tensor:
    """What Adam moves: the noise itself, or the number whose tanh it is where noise is within (−1, 1)."""
    inner = torch.atanh(value.clamp(-0.999, 0.999)) if distribution == "uniform" else value
    return inner.clone().requires_grad_(True)


def _bound(value: Tensor, distribution: str) -> Tensor:
    return torch.tanh(value) if distribution == "uniform" else value
