"""AlexNet, trained on ImageNet: what LPIPS sees by."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pipeline.assets import _lpips
from pipeline.contract import asset as contract
from pipeline.networks.architectures.alexnet import shapes
from pipeline.settings import Settings


class Config(Settings):
    """Nothing to set."""


class Asset(contract.Asset):
    """torchvision's IMAGENET1K_V1 weights (Krizhevsky 2014). Only the convolutions are kept."""

    # The publisher gives the first eight digits of the sum, in the file's name.
    url = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    sha256 = "7be5be79"
    cached = "alexnet-imagenet.safetensors"
    licence = "BSD-3-Clause (torchvision); trained on ImageNet, whose terms are non-commercial research"
    page = "https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.alexnet.html"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes()

    def converted(self, path: Path) -> dict[str, Tensor]:
        return _lpips.kept(path, shapes(), "AlexNet", drop="classifier.")
