"""CycleGAN, Zhu et al. 2017: two halvings, residual blocks, two doublings, all with instance norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.networks.layers.resample import MirroredDownsample, RepeatedUpsample


@dataclass(frozen=True, slots=True)
class TranslatorPlan:
    """width: maps at full resolution, doubled by each of two halvings; blocks: 9 at 256 px, 6 at 128.

    antialiased: convolutions keep the size, and fixed filters halve and double (Park et al. 2020; Zhang 2019).
    """

    inputs: int
    outputs: int
    width: int = 64
    blocks: int = 9
    antialiased: bool = False

    @property
    def encoder_maps(self) -> tuple[int, ...]:
        """Maps of each layer up to the last residual block, by whose numbers `Translator.features` goes."""
        level = 4 if self.antialiased else 3
        width = self.width
        return (self.inputs, *[width] * 3, *[2 * width] * level, *[4 * width] * (level + self.blocks))


class TranslatorBlock(nn.Module):
    """x + two 3×3 convolutions of it, padded by reflection; no relu behind the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_reflected(width, width, 3),
            nn.ReLU(),
            *_reflected(width, width, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Translator(nn.Module):
    """x (n, inputs, h, w), sides multiples of 4 → (n, outputs, h, w) in [−1, 1] (Zhu et al. 2017, appendix 7.2).

    Instance norms have no weights, so that the biases before them do nothing; the reference counts them.
    """

    def __init__(self, plan: TranslatorPlan) -> None:
        super().__init__()
        width = plan.width
        layers: list[nn.Module] = [*_reflected(plan.inputs, width, 7), nn.ReLU()]
        for before in (width, 2 * width):
            level = nn.Conv2d(before, 2 * before, 3, 1 if plan.antialiased else 2, 1)
            layers += [level, nn.InstanceNorm2d(2 * before), nn.ReLU()]
            if plan.antialiased:
                layers.append(MirroredDownsample())
        layers += [TranslatorBlock(4 * width) for _ in range(plan.blocks)]
        for before in (4 * width, 2 * width):
            if plan.antialiased:
                layers += [RepeatedUpsample(), nn.Conv2d(before, before // 2, 3, 1, 1)]
            else:
                layers.append(nn.ConvTranspose2d(before, before // 2, 3, 2, 1, output_padding=1))
            layers += [nn.InstanceNorm2d(before // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, plan.outputs, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def features(self, x: Tensor, numbers: Sequence[int]) -> list[Tensor]:
        """What these layers give, counted from 0 (the first margin), in rising order; later ones are not run."""
        found: list[Tensor] = []
        for number in range(max(numbers) + 1):
            x = self.layers[number](x)
            if number in numbers:
                found.append(x)
        return found


def _reflected(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inputs, outputs, kernel), nn.InstanceNorm2d(outputs)]
