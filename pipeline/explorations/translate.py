"""Translation: a folder of images of any size through a model that makes images from images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits
from pipeline.contract.family import Resizing
from pipeline.data import kinds, listing, regular
from pipeline.data.derived import Derived
from pipeline.data.images import decode, decode_map, with_channels
from pipeline.data.source import Limits
from pipeline.errors import Rejected, UserError
from pipeline.explorations import _shared
from pipeline.sampling import tiling
from pipeline.sampling.samples import Pixels, SampleSource, evaluating
from pipeline.settings import LocalPath, Settings
from pipeline.threads import fixed_threads
from pipeline.types import FieldSpec


class Config(Settings):
    """Images are read as sources read them; sides in pixels of the input."""

    images: LocalPath = Field(description="a picture, or a folder of them, sub-folders included")
    tile: int = Field(default=512, ge=16, le=8192, description="a larger image is cut into tiles of this side")
    overlap: int = Field(default=64, ge=0, le=1024, description="of neighbouring tiles, which fade into each other")
    truncation: float = Field(default=1.0, ge=0, description="of the noise, where the design has any")
    seed: int = Field(default=0, ge=0, description="of the noise, where the design has any")
    max_bytes: int = Field(default=limits.ITEM_BYTES, ge=1, description="of a file; a larger one is rejected")
    max_pixels: int = Field(
        default=limits.MOST_PIXELS, ge=1, le=limits.MOST_PIXELS, description="of a picture; a larger one is rejected"
    )


class Exploration:
    """Each picture is padded by its own mirror image to what the networks take, translated, and cut back.

    Design by design: srgan gives `scale` times the size; pix2pix, cyclegan and cut keep it, and normalise each tile by
    its own statistics, so that a large tile is nearer to the whole. A model of label maps reads PNGs of class numbers.
    What cannot be read is rejected and named.
    """

    modalities = _shared.PICTURES

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, source: SampleSource) -> _shared.Findings:
        field, resizing = self._input(source)
        root = Path(self.config.images)
        found = _listed(root)
        told: list[dict[str, Any]] = []
        rejected: list[dict[str, str]] = []
        said = {"input": field.name, "pictures": told, "rejected": rejected}
        pictures = self._pictures(source, field, resizing, found, told, rejected)
        return _shared.Findings({}, said, pictures=pictures)

    def _input(self, source: SampleSource) -> tuple[FieldSpec, Resizing]:
        """What the model is given, and how its output's size follows.

        Raises:
            UserError: for a model that makes nothing of an image, or of one size only.
        """
        resizing, images = source.family.resizing, sorted(source.family.inputs)
        if len(images) != 1 or source.field(images[0]).kind not in ("image", "mask"):
            raise UserError(f"translate: {_shared.design(source)} makes no image from an image")
        if resizing is None:
            raise UserError(f"translate: {_shared.design(source)} takes images of one size only")
        if source.conditional:
            raise UserError(f"translate: {_shared.design(source)} is conditional, and files name no class")
        return source.field(images[0]), resizing

    def _pictures(
        self,
        source: SampleSource,
        field: FieldSpec,
        resizing: Resizing,
        found: dict[str, Path | Rejected],
        told: list[dict[str, Any]],
        rejected: list[dict[str, str]],
    ) -> Iterator[tuple[str, Pixels]]:
        """Outputs by name, one at a time; what is said of each is added to `told` or to `rejected`.

        Raises:
            UserError: if no picture can be read.
        """
        config = self.config
        taken: set[str] = set()
        for name, place in found.items():
            try:
                if isinstance(place, Rejected):
                    raise place
                limit = Limits(config.max_bytes, config.max_pixels)
                x = _input(regular.read(place, limit.max_bytes), field, limit)
                cuts = tiling.cut((x.shape[1], x.shape[2]), resizing, config.tile, config.overlap)
            except Rejected as error:
                rejected.append({"image": name, "reason": ": ".join(filter(None, (error.reason, error.detail)))})
                continue
            out = _output(name, taken)
            yield out, tiling.translated(x, cuts, self._maker(source, field, len(told)))
            told.append({"image": name, "output": f"{out}.png", **cuts.said})
        if not told:
            first = f"; {rejected[0]['image']}: {rejected[0]['reason']}" if rejected else ""
            raise UserError(f"images: there is no picture at {config.images} that can be read{first}")

    def _maker(self, source: SampleSource, field: FieldSpec, number: int) -> tiling.Made:
        """The model for one tile of picture `number`, whose noise all its tiles share."""
        latents = {
            name: values[:1].to(source.device) for name, values in source.latents(self.config.seed, number).items()
        }

        def make(tile: Pixels) -> NDArray[np.float32]:
            condition: Any = {field.name: field.tensor(tile[None], source.device)}
            with torch.no_grad(), fixed_threads(source.threads), evaluating(source.networks):
                made = source.family.sample(source.networks, latents, condition, self.config.truncation)
            return made[0].float().cpu().numpy()

        return make


def _input(data: bytes, field: FieldSpec, limit: Limits) -> Pixels:
    """A file as the model reads it, uint8 (C, H, W): a picture with its channels, or the planes of a label map.

    Raises:
        Rejected: for what is neither.
    """
    if field.kind == "image":
        pixels = with_channels(decode(data, limit), field.shape[0], "white")
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    numbers = np.ascontiguousarray(decode_map(data, limit).transpose(2, 0, 1))
    if field.source != "derived":
        return numbers
    sides = numbers.shape[1:]
    stored = FieldSpec.usual(field.of, "mask", (1, *sides))
    made = Derived([replace(field, shape=(field.shape[0], *sides))], [stored])
    try:
        return made.computed({field.of: numbers[None]}, np.zeros(1, dtype=np.int64), [field.name])[field.name][0]
    except UserError as error:
        raise Rejected("unknown class", str(error)) from None


def _listed(root: Path) -> dict[str, Path | Rejected]:
    """Pictures by their names below `root`, in the order of these; for items that cannot be used, why.

    Raises:
        UserError: if there is nothing.
    """
    if not root.exists():
        raise UserError(f"images: there is nothing at {root}")
    if not root.is_dir():
        return {root.name: root}
    items = listing.listed(root, kinds.IMAGES).items
    return {name: root / name if problem is None else Rejected(*problem) for name, problem in items}


def _output(name: str, taken: set[str]) -> str:
    """The name of what comes of a file, without its ending unless that is another file's too."""
    path = Path(name)
    found = f"{FOLDER}/{path.with_suffix('')}"
    found = f"{FOLDER}/{path}" if found in taken else found
    taken.add(found)
    return found


FOLDER = "translated"
