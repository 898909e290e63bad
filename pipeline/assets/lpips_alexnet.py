"""LPIPS's weights of AlexNet's maps: one number a channel of five layers, learnt from what people saw."""

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
    """Version 0.1 of the authors' linear heads (Zhang et al. 2018). The network itself is the asset `alexnet`."""

    url = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/alex.pth"
    sha256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
    cached = "lpips-v0.1-alexnet.safetensors"
    licence = "BSD-2-Clause"
    page = "https://github.com/richzhang/PerceptualSimilarity"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return head_shapes("alexnet")

    def converted(self, path: Path) -> dict[str, Tensor]:
        return _lpips.heads(path, "alexnet")
