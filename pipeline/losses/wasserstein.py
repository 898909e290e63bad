"""The Wasserstein loss of Arjovsky et al. 2017, with ProGAN's drift term."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from pipeline.settings import Settings


class Config(Settings):
    """`drift` holds the critic's output near 0 (Karras et al. 2018, appendix A.1: 0.001)."""

    drift: float = Field(default=0.0, ge=0, description="weight of E[D(x)²]")


class Loss:
    """“Wasserstein GAN”, Arjovsky et al. 2017, equation 2; the critic's bound comes from elsewhere.

    critic     E[D(G)] − E[D(x)] + drift · E[D(x)²]
    generator      −E[D(G)]
    """

    needs_real = False
    signed = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        loss = fake.mean() - real.mean()
        return loss + self.config.drift * real.square().mean() if self.config.drift else loss

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake.mean()
