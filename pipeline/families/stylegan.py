"""StyleGAN: a mapped latent steers a grown synthesis through the statistics of each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Networks, Turn
from pipeline.families import _grown, _styles
from pipeline.families._choices import PenaltyChoices
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.progan import GrownDiscriminator
from pipeline.networks.architectures.stylegan import AdaptiveSynthesis, JoinedMappingNetwork
from pipeline.networks.blocks.mapping import StyleGenerator
from pipeline.networks.layers.embedding import one_hot
from pipeline.types import Batch, DataSpec


class Config(_grown.GrownConfig):
    """Karras et al. 2019 at 32 pixels; `levels: 8` is the paper's 1024. Growth begins at level 1, 8 pixels.

    Conditional: rows of a label matrix beside the noise, and one logit of D for each class.
    """

    style: int = Field(default=512, ge=1, description="numbers of w")
    mapping_layers: int = Field(default=8, ge=1)
    mapping_rate: float = Field(default=0.01, gt=0, description="the mapping's learning rate over the others'")
    mixing: float = Field(default=0.9, ge=0, le=1, description="probability of two styles in one image")
    truncated_layers: int = Field(default=8, ge=0, description="how many of the first layers truncation acts on")
    sample_noise: _styles.SampleNoise = Field(
        default="const", description="in samples: the kept maps, drawn by a key made of the latents, or none"
    )
    penalties: PenaltyChoices = Field(default=({"name": "r1", "gamma": 10.0},), description="of pipeline/penalties")


_SMALL: dict[str, Any] = {"latent": 64, "style": 64, "mapping_layers": 4, "penalties": {"r1": {"gamma": 1.0}}}

PRESETS: dict[str, dict[str, Any]] = {
    "images32": {},
    "images64": {"levels": 4},
    "images128": {"levels": 5, **both(lr=1.5e-3)},
    "images256": {"levels": 6, **both(lr=2e-3)},
    "images512": {"levels": 7, **both(lr=3e-3)},
    "images1024": {"levels": 8, **both(lr=3e-3)},
    "zoo": {
        **_SMALL,
        "conditional": True,
        "width": 192,
        "max_width": 64,
        "stable": 6_400,
        "fade": 6_400,
        **both(lr=2e-3),
    },
    "smoke": {**_SMALL, "levels": 2, "width": 128, "max_width": 32, "stable": 3_200, "fade": 3_200, **both(lr=2e-3)},
}

_COUNTS = {
    32: (22_841_356, 20_726_785),
    64: (25_137_935, 22_498_049),
    128: (25_843_858, 22_941_313),
    256: (26_086_229, 23_052_353),
    512: (26_179_768, 23_080_225),
    1024: (26_219_627, 23_087_249),
}
CANON: dict[str, Canon] = {
    f"images{side}": Canon(f"StyleGAN {side} px", (3, side, side), counts=counts) for side, counts in _COUNTS.items()
}


class Family(_grown.GrownFamily[Config]):
    """“A style-based generator architecture for generative adversarial networks”, Karras et al. 2019.

    w = f(z); each layer's output is normalised per map and becomes x·(1 + s(w)) + b(w) (equation 1). Loss:
    non-saturating + γ/2·E‖∇D(x)‖². Good for images whose coarse and fine traits one wants to steer apart.

    The reference's batch shrinks and its learning rate grows with the resolution: here one batch serves
    all, and a preset has the rate of its last resolution. Its average has a half-life of 10,000 examples.
    """

    paper = "Karras, Laine, Aila 2019, arXiv:1812.04948"
    first_level = 1

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, plan = self.config, self.plan(spec)
        classes = self.count_classes(spec)
        synthesis = AdaptiveSynthesis(plan, config.style)
        mapping = JoinedMappingNetwork(config.latent, classes, config.style, config.mapping_layers, config.mapping_rate)
        return {
            "generator": StyleGenerator(synthesis, mapping, synthesis.layers, config.style),
            "discriminator": GrownDiscriminator(plan, max(classes, 1), config.minibatch, config.group, blur=True),
        }

    def generate(self, turn: Turn) -> Tensor:
        lod = self.lod(turn)
        generator = _styles.generator_of(turn.networks)
        ws = _styles.training_styles(turn, self.label(turn), self.config.mixing, generator.layers - 2 * int(lod))
        return generator.synthesis(ws, turn.generator("noise"), lod)

    def read(self, outputs: Tensor, label: Tensor | None) -> Tensor:
        return outputs[:, 0] if label is None else (outputs * one_hot(label, outputs.shape[1])).sum(dim=1)

    def sample(
        self, networks: Networks, latents: Mapping[str, Tensor], condition: Batch, truncation: float = 1.0
    ) -> Tensor:
        """At the level of detail that training has reached; truncation ψ draws w towards its mean."""
        generator, z = _styles.generator_of(networks), latents["z"]
        cutoff = min(self.config.truncated_layers, generator.layers)
        ws = generator.styles(z, self.label_of(condition), truncation, cutoff)
        return generator.synthesis(ws, _styles.sampling_noise(self.config.sample_noise, z)).clamp(-1, 1)

    def procedures(self) -> dict[str, Callable[..., Any]]:
        """Mapping, style mixing by layer range, truncation sweep, projection of real images."""
        return _styles.procedures()
