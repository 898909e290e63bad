"""LPIPS's weights of VGG16's maps: one number a channel of five layers, learnt from what people saw."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pipeline.assets import _lpips
from pipeline.contract import asset as contract
from pipeline.networks.architectures.lpips import head_shapes
from pipeline.settings import Settings


class Config(Settings):
    """Nothing to set."""


class Asset(contract.Asset):
    """Version 0.1 of the authors' linear heads (Zhang et al. 2018). The network itself is the asset `vgg16`."""

    url = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth"
    sha256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
    cached = "lpips-v0.1-vgg16.safetensors"
    licence = "BSD-2-Clause"
    page = "https://github.com/richzhang/PerceptualSimilarity"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return head_shapes("vgg16")

    def converted(self, path: Path) -> dict[str, Tensor]:
        return _lpips.heads(path, "vgg16")
