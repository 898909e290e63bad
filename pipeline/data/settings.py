"""Settings of the ingest stage: where examples come from, and how they are fitted and packed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.data.source import Limits
from pipeline.limits import MOST_PIXELS
from pipeline.settings import Settings

Side = Annotated[int, Field(ge=1, le=8192)]


class IngestSettings(Settings):
    """The `ingest` section of params.yaml."""

    source: dict[str, Any] = Field(
        default={"name": "digits"}, description="a file of pipeline/data/sources, `name`, and its keys"
    )
    derive: dict[str, dict[str, Any]] = Field(
        default={},
        description="fields that are computed whenever examples are read: name → a file of pipeline/data/transforms, "
        "`name`, its keys, and `of`: the field it is made from (x)",
    )
    channels: Literal[1, 3, 4] | None = Field(default=None, description="1 grey, 3 RGB, 4 RGBA; null: as the source")
    resolution: tuple[Side, Side] | Side | None = Field(
        default=None, description="[height, width], or one side of a square; null: as the source, where all are equal"
    )
    resize: Literal["stretch", "center_crop", "pad", "none"] = Field(
        default="center_crop",
        description="how an image of another shape becomes `resolution`; none: it is rejected",
    )
    filter: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        default="bicubic", description="the resampling filter, Pillow's, antialiased when shrinking"
    )
    transparency: Literal["white", "black", "reject"] = Field(
        default="white", description="what shows through where `channels` drops alpha; reject: set such images aside"
    )
    pad_value: int = Field(
        default=0, ge=0, le=255, description="grey level of padded borders; with 4 channels they are transparent"
    )
    duplicates: Literal["keep", "drop"] = Field(
        default="keep", description="drop: of examples with equal content, only the first is packed"
    )
    empty_classes: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="a class without any usable example: refuse to go on, or drop it, and the others keep their order",
    )
    holdout_fraction: float = Field(default=0.2, ge=0, lt=1, description="the share of contents kept out of training")
    max_rejected_fraction: float = Field(
        default=0.01, ge=0, le=1, description="ingest fails where more items than this are rejected"
    )
    max_bytes: int = Field(default=Limits().max_bytes, ge=1, description="larger files are rejected")
    max_pixels: int = Field(
        default=Limits().max_pixels, ge=1, le=MOST_PIXELS, description="images that unpack to more are rejected"
    )
    shard_examples: int = Field(default=1024, ge=1, description="examples a shard holds")
    png_level: int = Field(default=6, ge=0, le=9, description="compression of packed images; lossless at every level")
    limit: int | None = Field(
        default=None, ge=1, description="use only so many items, evenly spread over the source (for trials)"
    )

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) asked for, if any."""
        return (self.resolution, self.resolution) if isinstance(self.resolution, int) else self.resolution

    @property
    def limits(self) -> Limits:
        """The caps for one item."""
        return Limits(self.max_bytes, self.max_pixels)

    def describe(self) -> dict[str, Any]:
        """What decides the content of the shards, besides the source, as the manifest records it."""
        left_out = {"source", "max_rejected_fraction", "max_bytes", "max_pixels"}
        if self.empty_classes == "refuse":
            left_out.add("empty_classes")  # so that manifests of before keep their bytes
        if not self.derive:
            left_out.add("derive")
        return self.model_dump(mode="json", exclude=left_out)
