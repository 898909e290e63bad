"""The non-saturating logistic loss of Goodfellow et al. 2014, with one-sided label smoothing."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.settings import Settings


class Config(Settings):
    """`scale` 0.5 is the 2014 cost; DCGAN and later sum both halves."""

    scale: float = Field(default=1.0, gt=0, description="multiplies the discriminator's loss")
    smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="reals are aimed at 1 − smoothing")


class Loss:
    """“Generative Adversarial Nets”, Goodfellow et al. 2014, section 3; logits in, nats out.

    discriminator  −E[log σ(D(x))] − E[log(1 − σ(D(G)))]
    generator      −E[log σ(D(G))]
    """

    needs_real = False
    signed = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        # BCE(r, 1 − s) = softplus(−r) + s·r  (Salimans et al. 2016, section 3.4).
        real_part = F.softplus(-real) + self.config.smoothing * real
        return self.config.scale * (real_part.mean() + F.softplus(fake).mean())

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()
