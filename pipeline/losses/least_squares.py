"""The least-squares loss of Mao et al. 2017."""

from __future__ import annotations

from torch import Tensor

from pipeline.settings import Settings


class Config(Settings):
    """Targets a (fakes), b (reals) and c (fakes, for the generator); the paper's equation 9 has 0, 1, 1."""

    fake_target: float = 0.0
    real_target: float = 1.0
    generator_target: float = 1.0


class Loss:
    """“Least Squares Generative Adversarial Networks”, Mao et al. 2017, equation 2.

    discriminator  ½ E[(D(x) − b)²] + ½ E[(D(G) − a)²]
    generator      ½ E[(D(G) − c)²]
    """

    needs_real = False
    signed = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        towards_real = (real - self.config.real_target).square().mean()
        towards_fake = (fake - self.config.fake_target).square().mean()
        return 0.5 * (towards_real + towards_fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return 0.5 * (fake - self.config.generator_target).square().mean()
