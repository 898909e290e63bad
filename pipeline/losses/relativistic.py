"""The relativistic logistic losses of Jolicoeur-Martineau 2019: pairs, or against the average."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.settings import Settings


class Config(Settings):
    """`average` compares with the other side's mean (RaGAN) in place of the pair's other half (RpGAN)."""

    average: bool = False
    scale: float = Field(default=1.0, gt=0, description="of the discriminator's loss")


class Loss:
    """“The relativistic discriminator”, Jolicoeur-Martineau 2019; R3GAN's loss, Huang et al. 2024, equation 2.

    pairs      discriminator E[softplus(−(D(x) − D(G)))], generator the same with x and G exchanged
    average    discriminator E[softplus(−(D(x) − E D(G)))] + E[softplus(D(G) − E D(x))], generator exchanged

    Real i is paired with fake i; a conditional design gives both the same label.
    """

    needs_real = True
    signed = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.config.scale * self._apart(real, fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        if real is None:
            raise ValueError("a relativistic loss compares with logits on reals: hand them in")
        return self._apart(fake, real)

    def _apart(self, above: Tensor, below: Tensor) -> Tensor:
        if self.config.average:
            return F.softplus(below.mean() - above).mean() + F.softplus(below - above.mean()).mean()
        return F.softplus(below - above).mean()
