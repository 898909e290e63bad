"""3D-GAN: shapes of voxels from noise, by a discriminator that rests while it is too good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import Networks, Optimiser, Phase, State, Turn
from pipeline.families import _choices, _geometry, _shared
from pipeline.families._adversarial import LatentFamily, Passes, Terms
from pipeline.families._settings import StackSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.gan3d import VoxelDiscriminator, VoxelGenerator
from pipeline.networks.blocks.strided_stacks import StackPlan
from pipeline.networks.layers import init
from pipeline.networks.layers.norm import NormName
from pipeline.types import DataSpec, Modality

ACCURACY = "accuracy"


class Config(StackSettings):
    """Wu et al. 2016; the grid's D×H×W must be base·2^levels, such as 64³ = 4³·2^4."""

    latent: int = Field(default=200, ge=1, description="numbers of noise")
    smallest: int = Field(default=4, ge=1, description="shortest side of the smallest map, where levels is none")
    max_width: int = Field(default=512, ge=1, description="no layer has more maps")
    bias: bool = Field(default=False, description="whether convolutions have one; the authors took them out")
    discriminator_norm: NormName = Field(default="batch", description="behind all convolutions but the first")
    rest_above: float | None = Field(
        default=0.8, ge=0.5, le=1, description="D rests while its accuracy on the last batch is above this; null: never"
    )
    init_std: float | None = Field(default=None, gt=0, description="weights N(0, init_std); null: torch's own")
    generator: Optimiser = Optimiser(lr=2.5e-3)
    discriminator: Optimiser = Optimiser(lr=1e-5)

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.augment and self.augment["name"] != "instance_noise":
            raise ValueError(
                f"augment: {self.augment['name']} changes images, and these are voxels; take instance_noise"
            )
        if self.rest_above is not None and not plugins.module("losses", self.loss["name"]).Loss.signed:
            raise ValueError(
                f"rest_above: {self.loss['name']} does not threshold its logits at 0, so that D has no accuracy; "
                "set it to null"
            )
        batch_norm = self.discriminator_norm == "batch"
        _choices.check_penalties(self.penalties, batch_norm, "set discriminator_norm to layer or none, or take r1")
        return self


_SMALL: dict[str, Any] = {"discriminator_norm": "none", "bias": True, "init_std": 0.02}

PRESETS: dict[str, dict[str, Any]] = {
    "shapes64": {},
    "shapes64_bias": {"bias": True},
    "zoo": {
        **_SMALL,
        "conditional": True,
        "latent": 64,
        "generator_width": 16,
        "discriminator_width": 16,
        "penalties": {"r1": {"gamma": 1.0, "every": 4}},
        **both(lr=1e-3, beta1=0.0, beta2=0.99),
    },
    "smoke": {**_SMALL, "latent": 8, "generator_width": 4, "discriminator_width": 4, **both(lr=1e-3)},
}

CANON: dict[str, Canon] = {
    "shapes64": Canon("3D-GAN 64³", (1, 64, 64, 64), modality="voxels", counts=(17_569_664, 11_048_704)),
    "shapes64_bias": Canon(
        "3D-GAN 64³ with biases", (1, 64, 64, 64), modality="voxels", counts=(17_570_625, 11_049_665)
    ),
}


class Family(LatentFamily[Config]):
    """“Learning a probabilistic latent space of object shapes via 3D generative-adversarial modeling”, Wu et al. 2016.

    DCGAN's game, D: −log D(x) − log(1 − D(G(z))), G: −log D(G(z)), on convolutions of 4³ and stride 2 over occupancy
    grids, z uniform over (0, 1)^200. D learns forty times faster in three dimensions, so its rate is smaller, and it
    rests in each step before which it told more than 80 % of the last batch, half reals and half fakes, right: in its
    own turn before it moved, or, where it rested, in the generator's turn.
    Good for: chairs, tables, cars: single objects as occupancy grids of 16³ to 64³, with or without classes.
    """

    paper = "Wu, Zhang, Xue, Freeman, Tenenbaum 2016, arXiv:1610.07584"

    modality: ClassVar[Modality] = "voxels"

    @property
    def distribution(self) -> Literal["normal", "uniform"]:
        return "uniform"

    def check(self, spec: DataSpec) -> None:
        super().check(spec)
        self._base(spec)

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, classes = self.config, self.count_classes(spec)
        base, levels = self._base(spec)
        upward = StackPlan(
            base, self._widths(config.generator_width, levels), spec.channels, "batch", config.bias, classes
        )
        downward = replace(
            upward, widths=self._widths(config.discriminator_width, levels), norm=config.discriminator_norm
        )
        networks: dict[str, nn.Module] = {
            "generator": VoxelGenerator(upward, config.latent),
            "discriminator": VoxelDiscriminator(downward),
        }
        if config.init_std is not None:
            init.normal(config.init_std, *networks.values())
        return networks

    def phases(self) -> tuple[Phase, ...]:
        phases = super().phases()
        if self.config.rest_above is None:
            return phases
        return tuple(replace(each, when=self._moves) if each.player == "discriminator" else each for each in phases)

    def generator_terms(self, turn: Turn, seen: Passes) -> Terms:
        """Where D rests, how well it tells this batch from these fakes; of no weight."""
        if self.config.rest_above is None or self._moves(turn.state):
            return {}
        with torch.no_grad():
            on_real = self.logits(self.outputs(turn, self.real(turn), "watched"))
            means = _shared.means(on_real, self.logits(seen.on_fake), self.loss.signed)
        return {ACCURACY: (0.0, means[ACCURACY])}

    def state(self, spec: DataSpec) -> dict[str, Tensor]:
        return {**super().state(spec), ACCURACY: torch.zeros(())}

    def after_step(self, networks: Networks, state: State, observed: Mapping[str, float]) -> None:
        super().after_step(networks, state, observed)
        for player in ("discriminator", "generator"):
            if (found := observed.get(f"{player}/{ACCURACY}")) is not None:
                state.tensors[ACCURACY] = torch.full_like(state.tensors[ACCURACY], found)

    def _moves(self, state: State) -> bool:
        """Whether D has a turn in this step."""
        limit = self.config.rest_above
        return limit is None or bool(state.tensors[ACCURACY] <= limit)  # in float32, which 0.8 of a batch is given in

    def _base(self, spec: DataSpec) -> tuple[tuple[int, ...], int]:
        return _geometry.find_base(self.name, spec.resolution, self.config.levels, self.config.smallest)

    def _widths(self, last: int, count: int) -> tuple[int, ...]:
        return tuple(min(last * 2**above, self.config.max_width) for above in reversed(range(count)))
