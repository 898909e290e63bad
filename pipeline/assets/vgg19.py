"""VGG19, trained on ImageNet: the features of perceptual losses (SRGAN)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pipeline.assets import _vgg
from pipeline.contract import asset as contract
from pipeline.networks.architectures.vgg import shapes
from pipeline.settings import Settings


class Config(Settings):
    """Nothing to set."""


class Asset(contract.Asset):
    """torchvision's IMAGENET1K_V1 weights (Simonyan & Zisserman 2015). Only the convolutions are kept."""

    # The publisher gives the first eight digits of the sum, in the file's name.
    url = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
    sha256 = "dcbb9e9d"
    cached = "vgg19-imagenet.safetensors"
    licence = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms are non-commercial research"
    page = "https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.vgg19.html"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes(19)

    def converted(self, path: Path) -> dict[str, Tensor]:
        return _vgg.converted(path, 19)
