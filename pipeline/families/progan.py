"""ProGAN: both networks grow from the smallest map to the full image while they train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Networks, Turn
from pipeline.families import _grown
from pipeline.families._choices import LossChoice, PenaltyChoices
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.progan import GrownDiscriminator, GrownGenerator
from pipeline.types import Batch, DataSpec


class Config(_grown.GrownConfig):
    """Karras et al. 2018 at 32 pixels, from 4; `levels: 8` is the paper's 1024.

    Conditional: one-hot labels beside the noise, and an auxiliary classifier on the discriminator's features.
    """

    loss: LossChoice = Field(default={"name": "wasserstein", "drift": 0.001}, description="a file of pipeline/losses")
    penalties: PenaltyChoices = Field(default=({"name": "gradient_penalty"},), description="of pipeline/penalties")
    class_weight: float = Field(default=1.0, ge=0, description="of the cross-entropies on reals and fakes, in D and G")


_SMALL: dict[str, Any] = {"latent": 64, **both(lr=2e-3)}

PRESETS: dict[str, dict[str, Any]] = {
    "images32": {},
    "images32_cond": {"conditional": True},
    "images64": {"levels": 4},
    "images128": {"levels": 5},
    "images256": {"levels": 6},
    "images512": {"levels": 7},
    "images1024": {"levels": 8, **both(lr=1.5e-3)},
    "zoo": {
        **_SMALL,
        "conditional": True,
        "latent": 32,
        "class_weight": 2.0,
        "width": 192,
        "max_width": 64,
        "stable": 6_400,
        "fade": 6_400,
    },
    "smoke": {**_SMALL, "levels": 2, "width": 128, "max_width": 32, "stable": 3_200, "fade": 3_200},
}

CANON: dict[str, Canon] = {
    "images32": Canon("ProGAN 32 px", (3, 32, 32), counts=(20_719_628, 20_726_785)),
    "images32_cond": Canon("ProGAN 32 px, 10 classes", (3, 32, 32), 10, counts=(20_801_548, 20_731_915)),
    "images64": Canon("ProGAN 64 px", (3, 64, 64), counts=(22_490_383, 22_498_049)),
    "images128": Canon("ProGAN 128 px", (3, 128, 128), counts=(22_933_394, 22_941_313)),
    "images256": Canon("ProGAN 256 px", (3, 256, 256), counts=(23_044_309, 23_052_353)),
    "images512": Canon("ProGAN 512 px", (3, 512, 512), counts=(23_072_120, 23_080_225)),
    "images1024": Canon("ProGAN 1024 px", (3, 1024, 1024), counts=(23_079_115, 23_087_249)),
}


class Family(_grown.GrownFamily[Config]):
    """“Progressive growing of GANs for improved quality, stability, and variation”, Karras et al. 2018.

    min_D E[D(G)] − E[D(x)] + 10·E[(‖∇D(x̂)‖ − 1)²] + 0.001·E[D(x)²], while a level fades in by
    image ← (1 − α)·old + α·new in both networks and in the reals. Good for high resolutions on modest
    means: most steps are played on small maps. The average of the paper's generator has β 0.999 a step:
    `train.averaging` half_life ≈ 693 batches, no ramp.

    One batch size serves all resolutions: the reference takes 128 examples at 4 pixels and fewer
    above 16. Training begins at level 0, the base alone.
    """

    paper = "Karras, Aila, Laine, Lehtinen 2018, arXiv:1710.10196"

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, plan = self.config, self.plan(spec)
        classes = self.count_classes(spec)
        return {
            "generator": GrownGenerator(plan, config.latent, classes),
            "discriminator": GrownDiscriminator(plan, 1 + classes, config.minibatch, config.group),
        }

    def generate(self, turn: Turn) -> Tensor:
        return turn.networks["generator"](turn.latents["z"], self.label(turn), self.lod(turn))

    def read(self, outputs: Tensor, label: Tensor | None) -> Tensor:
        return outputs[:, 0]

    def class_loss(self, outputs: Tensor, label: Tensor) -> tuple[float, Tensor]:
        """ACGAN's cross-entropy (Odena et al. 2017) on the outputs behind the first."""
        return self.config.class_weight, F.cross_entropy(outputs[:, 1:], label)

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """At the level of detail that training has reached. Pixel norm takes the noise's length away:
        between 0 and 1 truncation changes nothing without labels, and with them weighs noise against label.
        """
        return super().sample(networks, latents, condition, truncation).clamp(-1, 1)
