"""The minimax (saturating) logistic loss of Goodfellow et al. 2014."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.settings import Settings


class Config(Settings):
    """`scale` multiplies the discriminator's loss; the generator's gradient vanishes where D is sure."""

    scale: float = Field(default=1.0, gt=0, description="multiplies the discriminator's loss")


class Loss:
    """“Generative Adversarial Nets”, Goodfellow et al. 2014, equation 1; logits in, nats out.

    discriminator  −E[log σ(D(x))] − E[log(1 − σ(D(G)))]
    generator   E[log(1 − σ(D(G)))]
    """

    needs_real = False
    signed = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.config.scale * (F.softplus(-real).mean() + F.softplus(fake).mean())

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -F.softplus(fake).mean()
