"""The latents whose samples are nearest to given pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from pipeline import limits
from pipeline.errors import UserError
from pipeline.explorations import _shared
from pipeline.sampling.samples import Pixels, SampleSource, evaluating, pixels
from pipeline.threads import fixed_threads
from pipeline.types import Batch

CONTINUOUS = ("normal", "uniform")


class Fitting(_shared.Labelled):
    """How the nearest latents are sought: several starts for every picture, of which the best is the answer."""

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


@dataclass(frozen=True)
class Nearest:
    """What was found for one picture. latents: of one sample, on the CPU. label: the class's index, where it has one.

    candidate: the number of the start that came nearest. sample: (C, H, W) as it would be saved.
    """

    latents: dict[str, Tensor]
    label: int | None
    candidate: int
    sample: Pixels


class Projector:
    """min over z of ‖G(z) − x‖² + λ (‖z‖²/d − 1)² by gradient (Zhu et al. 2016), x and G(z) in [−1, 1].

    Designs with styles move w instead, as their own procedure `project` does (Karras et al. 2020, appendix D).

    Raises:
        UserError: where the design has nothing to move.
    """

    def __init__(self, source: SampleSource, config: Fitting) -> None:
        self.source, self.config = source, config
        self.label = _shared.chosen_labels(source, config.candidates, config)
        self.styled = self._by_style()
        if not source.noise:
            _shared.of(source)
        self.start = {} if self.styled else _shared.noise(source, config.seed, config.candidates)
        if self.styled and self.label is not None:
            self.label = self.label.unique()

    def nearest(self, picture: Pixels) -> Nearest:
        """The latents of a picture uint8 (C, H, W)."""
        latents, made, errors = self._by_w(picture) if self.styled else self._by_noise(picture)
        first = int(errors.argmin())
        label = None if self.label is None else int(self.label[first])
        kept = {name: value[first] for name, value in latents.items()}
        return Nearest(kept, label, first, pixels(made[first : first + 1])[0])

    def drawn(self, latents: Mapping[str, Tensor], label: int | None) -> Pixels:
        """The sample (C, H, W) of latents of one sample, as `nearest` finds them."""
        source = self.source
        moved = {name: value[None].to(source.device) for name, value in latents.items()}
        with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
            if self.styled:
                made = source.family.procedures()["synthesis"](source.networks, moved["w"])
            else:
                condition: Batch = {} if label is None else {"label": torch.tensor([label], device=source.device)}
                made = source.family.sample(source.networks, moved, condition)
        return pixels(made.cpu())[0]

    def moved(self, of: Nearest, start: Nearest, end: Nearest) -> dict[str, Tensor]:
        """Latents of `of` plus what lies between those of `start` and of `end`; noise within (−1, 1) stays there."""
        bounded = {latent.name for latent in self.source.noise if latent.distribution == "uniform"}
        free = {latent.name for latent in self.source.noise if latent.distribution in CONTINUOUS} | {"w"}
        found: dict[str, Tensor] = {}
        for name, value in of.latents.items():
            sum_ = value + end.latents[name] - start.latents[name] if name in free else value
            found[name] = sum_.clamp(-1, 1) if name in bounded else sum_
        return found

    def _by_style(self) -> bool:
        """Whether w is moved.

        Raises:
            UserError: if it is asked for and there is none.
        """
        known = "project" in self.source.family.procedures()
        if self.config.space == "style" and not known:
            raise UserError(f"space: {_shared.design(self.source)} has no styles; take noise")
        return known and self.config.space != "noise"

    def _target(self, picture: Pixels) -> Tensor:
        return torch.from_numpy(picture).to(self.source.device).float().div(127.5).sub(1)[None]

    def _by_w(self, picture: Pixels) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """As `_by_noise`; every class asked for is one candidate."""
        source, config = self.source, self.config
        labels = None if self.label is None else self.label.to(source.device)
        target = self._target(picture)
        count = 1 if labels is None else len(labels)
        with fixed_threads(source.threads), evaluating(source.networks):
            found: dict[str, Tensor] = source.family.procedures()["project"](
                source.networks,
                target.expand(count, *target.shape[1:]),
                label=labels,
                steps=config.steps,
                lr=config.lr,
                seed=config.seed,
            )
        return {"w": found["ws"].cpu()}, found["images"].cpu(), found["error"].cpu()

    def _by_noise(self, picture: Pixels) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Latents, samples and squared errors (candidates,) after the last step, on the CPU.

        Raises:
            UserError: for a design without continuous noise.
        """
        source, config, device = self.source, self.config, self.source.device
        target = self._target(picture)
        moving = {latent.name: latent for latent in _shared.of(source) if latent.distribution in CONTINUOUS}
        free = {name: _free(self.start[name].to(device), latent.distribution) for name, latent in moving.items()}
        if not free:
            raise UserError(f"projection: {_shared.design(source)} draws no continuous noise")
        fixed = {name: value.to(device) for name, value in self.start.items() if name not in moving}
        condition: Batch = {} if self.label is None else {"label": self.label.to(device)}
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
