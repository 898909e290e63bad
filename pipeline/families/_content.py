"""Content losses: how far two images are apart, to the pixel or as a network sees them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from torch import Tensor

from pipeline.assets import _vgg
from pipeline.contract.extractor import AnyExtractor
from pipeline.networks.architectures import vgg
from pipeline.settings import Settings

LEAST = 16  # pixels of a side, below which the fifth block of VGG19 has nothing left


class Content(Settings):
    """What a generated image is compared by with its truth.

    The distance is the mean over all numbers of the difference, squared (l2) or not (l1).
    """

    name: Literal["vgg19", "reference", "pixels"] = Field(
        default="vgg19",
        description="vgg19: maps of the ImageNet network (`zerosum weights fetch vgg19`); reference: the features of "
        "the reference's own extractor; pixels: the images",
    )
    distance: Literal["l1", "l2"] = "l2"
    weight: float = Field(default=1.0, ge=0, description="in what the generator minimises")
    layer: str = Field(default="relu5_4", description="of vgg19: relu5_4 after activation, conv5_4 before it")
    rescale: float = Field(default=1 / 12.75, gt=0, description="what vgg19's maps are multiplied by")

    @field_validator("layer")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in vgg.names(19):
            raise ValueError(f"vgg19 has no maps '{value}'; it has {', '.join(vgg.names(19))}")
        return value


class ContentLoss:
    """Holds the network that looks, which is fixed, and is loaded when it is first needed."""

    def __init__(self, config: Content) -> None:
        self.config = config
        self.extractor: AnyExtractor | None = None
        self._vgg: vgg.Vgg | None = None

    @property
    def assets(self) -> tuple[str, ...]:
        return ("vgg19",) if self.config.name == "vgg19" else ()

    def __call__(self, made: Tensor, truth: Tensor) -> Tensor:
        """Distance of images (n, C, H, W) in [0, 1] from their truths: a scalar, with `made`'s graph."""
        return apart(self.features(made), self.features(truth).detach(), self.config.distance)

    def features(self, x: Tensor) -> Tensor:
        """What images (n, C, H, W) in [0, 1] look like to the network; the images themselves by `pixels`.

        Raises:
            RuntimeError: if the reference's extractor is asked for, and was not handed in.
        """
        if self.config.name == "pixels":
            return x
        if self.config.name == "vgg19":
            return self.config.rescale * self._looking(x)(coloured(x))[self.config.layer]
        if self.extractor is None:
            raise RuntimeError("content: reference was not given the reference's extractor")
        return self.extractor.smooth(2 * x - 1).to(x.device)

    def _looking(self, x: Tensor) -> vgg.Vgg:
        if self._vgg is None:
            self._vgg = _vgg.load(19, (self.config.layer,))
        return self._vgg.to(x.device)


def apart(a: Tensor, b: Tensor, distance: Literal["l1", "l2"]) -> Tensor:
    """The mean difference of all numbers, squared or not."""
    return (a - b).square().mean() if distance == "l2" else (a - b).abs().mean()


def coloured(x: Tensor) -> Tensor:
    """Images of any channels as three: grey three times, alpha left out."""
    return x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
