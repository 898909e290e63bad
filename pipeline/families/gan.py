"""The GAN of 2014: two perceptrons, dropout in the discriminator, both players moving at once."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from pipeline.contract import Optimiser, Ramp, Turn
from pipeline.families._adversarial import LatentFamily
from pipeline.families._choices import LossChoice, Width
from pipeline.families._settings import LatentSettings
from pipeline.families._shared import Canon, both
from pipeline.networks.architectures.gan import MaxoutDiscriminator, PerceptronGenerator
from pipeline.types import DataSpec

UPDATES_TO_FLOOR = math.log(0.1 / 1e-6) / math.log(1.000004)


SGD = Optimiser(
    name="sgd",
    lr=Ramp(start=0.1, end=1e-6, examples=round(100 * UPDATES_TO_FLOOR), shape="geometric"),
    momentum=Ramp(start=0.5, end=0.7, examples=12_500_000),
)
"""0.1 divided by 1.000004 an update of 100 examples down to 1e-6; momentum 0.5 → 0.7 in 250 epochs."""


class Config(LatentSettings):
    """Goodfellow et al. 2014 for MNIST; any height, width and channels, seen as one flat row."""

    conditional: bool = Field(default=False, description="labels, one-hot, are joined to both networks' inputs")
    latent_distribution: Literal["uniform", "normal"] = Field(default="uniform", description="of variance 1 either way")
    generator_widths: tuple[Width, ...] = Field(default=(1200, 1200), min_length=1)
    discriminator_units: tuple[Width, ...] = Field(default=(240, 240), min_length=1, description="maxout units a layer")
    pieces: int = Field(default=5, ge=1, description="affine maps a maxout unit takes the largest of")
    keep_input: float = Field(default=0.8, gt=0, le=1, description="share of D's inputs that dropout keeps")
    keep_hidden: float = Field(default=0.5, gt=0, le=1, description="share of D's hidden units that dropout keeps")
    generator_init: float = Field(default=0.05, gt=0, description="weights uniform in ±this")
    discriminator_init: float = Field(default=0.005, gt=0, description="weights uniform in ±this")
    output_bias: float = Field(
        default=0.0, description="logit of the data's mean brightness in [0, 1]; MNIST's mean 0.1307 is −1.895"
    )
    loss: LossChoice = Field(default={"name": "non_saturating", "scale": 0.5}, description="a file of pipeline/losses")
    simultaneous: bool = Field(default=True, description="both gradients at one point, on the same fakes")
    generator: Optimiser = SGD
    discriminator: Optimiser = SGD


def _small(widths: int, units: int, **keys: Any) -> dict[str, Any]:
    """Two layers of these widths in each network, with Adam."""
    layers = {"generator_widths": [widths] * 2, "discriminator_units": [units] * 2, "discriminator_init": 0.05}
    return {**layers, **both(name="adam", lr=2e-4, beta1=0.5, beta2=0.999), **keys}


PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {"output_bias": -1.895},
    "small": _small(256, 96, latent=64),
    "zoo": _small(512, 128, latent=64, conditional=True),
    "smoke": _small(128, 48, latent=32, conditional=True),
}

CANON: dict[str, Canon] = {"mnist": Canon("GAN-2014 MNIST (mnist.yaml)", (1, 28, 28), counts=(2_503_984, 1_231_441))}


class Family(LatentFamily[Config]):
    """“Generative adversarial nets”, Goodfellow et al. 2014.

    min_G max_D E[log D(x)] + E[log(1 − D(G(z)))] (equation 1), G playing −log D(G(z)) instead. Good for:
    the smallest game there is, and the mark that later designs have to beat.

    The paper sets the output's biases from each pixel's mean over the data. A family is built from
    the data's shape alone and never sees an example, so `output_bias` gives one number for all.
    """

    paper = "Goodfellow et al. 2014, arXiv:1406.2661"

    @property
    def distribution(self) -> Literal["normal", "uniform"]:
        return self.config.latent_distribution

    def build(self, spec: DataSpec) -> dict[str, nn.Module]:
        self.check(spec)
        config, classes = self.config, self.count_classes(spec)
        # Uniform noise comes over (−1, 1); the paper's over (−√3, √3) has variance 1.
        scale = math.sqrt(3) if config.latent_distribution == "uniform" else 1.0
        return {
            "generator": PerceptronGenerator(
                config.latent,
                config.generator_widths,
                spec.shape,
                classes,
                scale,
                config.generator_init,
                config.output_bias,
            ),
            "discriminator": MaxoutDiscriminator(
                spec.size,
                config.discriminator_units,
                config.pieces,
                classes,
                (config.keep_input, config.keep_hidden),
                config.discriminator_init,
            ),
        }

    def outputs(self, turn: Turn, x: Tensor, purpose: str) -> Tensor:
        dropout = turn.generator(f"dropout/{purpose}")
        return turn.networks["discriminator"](self.augmented(turn, x, purpose), self.label(turn), dropout)
