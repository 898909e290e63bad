"""The hinge loss of Lim & Ye 2017 and Tran et al. 2017, as SN-GAN uses it."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.settings import Settings


class Config(Settings):
    """`margin` is where the discriminator stops caring."""

    margin: float = Field(default=1.0, gt=0)


class Loss:
    """“Spectral Normalization for GANs”, Miyato et al. 2018, equations 16 and 17.

    discriminator  E[max(0, m − D(x))] + E[max(0, m + D(G))]
    generator      −E[D(G)]
    """

    needs_real = False
    signed = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        margin = self.config.margin
        return F.relu(margin - real).mean() + F.relu(margin + fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake.mean()
