"""A folder of clips: animated pictures, strips of frames side by side, or a folder of frames each; by class."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import limits as most
from pipeline.data import clips
from pipeline.data.kinds import ANIMATIONS, IMAGES, VIDEOS, Kind, ending
from pipeline.data.listing import Listing
from pipeline.data.source import Entry, Limits, Problem
from pipeline.data.sources import _shared
from pipeline.data.sources._labelled_folder import FolderSettings, LabelledFolder
from pipeline.errors import Rejected
from pipeline.natural import natural
from pipeline.types import Modality

TRIED = 8  # clips that are opened to learn the shape before ingest, until one is good


class Config(FolderSettings):
    """Where the clips are, what one is, and which of its frames are kept; their size is `ingest.resolution`."""

    layout: Literal["animated", "strips", "frames"] = Field(
        default="animated",
        description="animated: GIF, WebP or animated PNG files; strips: pictures of frames side by side; frames: a "
        "folder a clip, its pictures in natural order (2 before 10)",
    )
    frames: int = Field(default=16, ge=2, le=1024, description="of each clip; clips that have fewer are rejected")
    stride: int = Field(default=1, ge=1, le=256, description="keep every n-th frame")
    skip: int = Field(default=0, ge=0, le=100_000, description="frames left out at the beginning")
    frame_width: int | None = Field(default=None, ge=1, description="of strips; null: frames are as wide as high")
    max_clip_pixels: int = Field(
        default=most.CLIP_PIXELS, ge=1, description="a clip that decodes to more pixels is rejected"
    )


class Source(LabelledFolder[Config]):
    """Videos (C, frames, H, W), uint8; what comes after the last frame that is kept is left out."""

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        from PIL import Image

        for label in ("up", "down"):
            (folder / label).mkdir()
            first, *rest = (Image.new("RGB", (6, 4), (0, 40 * number, 9)) for number in range(3))
            first.save(folder / label / "a.webp", save_all=True, append_images=rest, lossless=True)
        (folder / "down" / "broken.gif").write_bytes(b"GIF89a")
        return {"folder": str(folder), "frames": 3}

    @property
    def kind(self) -> Kind:  # pyright: ignore[reportIncompatibleVariableOverride] (by its config)
        return ANIMATIONS if self.config.layout == "animated" else IMAGES

    @property
    def modality(self) -> Modality:
        return "video"

    @property
    def dtype(self) -> Literal["uint8", "float32"]:
        return "uint8"

    @property
    def frames(self) -> int:
        return self.config.frames

    def native_shape(self) -> tuple[int, ...] | None:
        for entry in islice((entry for entry in self.entries() if entry.problem is None), TRIED):
            try:
                frames, height, width, channels = self.read(entry, Limits()).shape
            except Rejected:
                continue
            return channels, frames, height, width
        return None

    def fetch(self, entry: Entry, limits: Limits) -> tuple[str, tuple[bytes, ...]]:
        name = cast(str, entry.where)
        if self.config.layout != "frames":
            return name, (super().fetch(entry, limits),)
        frames = self._clips[name]
        self._cut.check(len(frames))
        root = Path(self.config.folder)
        return name, tuple(_shared.file_bytes(root / frames[number], limits) for number in self._cut.kept())

    def decode(self, stored: tuple[str, tuple[bytes, ...]], limits: Limits) -> NDArray[np.uint8]:
        name, data = stored
        if self.config.layout == "frames":
            return clips.pictures(data, self._cut, limits)
        if self.config.layout == "strips":
            return clips.strip(data[0], self.config.frame_width, self._cut, limits)
        if ending(name) in VIDEOS:
            raise Rejected("unread video", f"{ending(name)} is not read; save it as GIF, WebP or as frames")
        return clips.animated(data[0], self._cut, limits)

    @property
    def _cut(self) -> clips.Cut:
        config = self.config
        return clips.Cut(config.frames, config.stride, config.skip, config.max_clip_pixels)

    @functools.cached_property
    def _pictures(self) -> Listing:
        """The files below the folder."""
        return super()._found()

    @functools.cached_property
    def _clips(self) -> dict[str, list[str]]:
        """The frames of each folder of pictures, in natural order."""
        held: dict[str, list[str]] = defaultdict(list)
        for name, _ in self._pictures.items:
            held[str(PurePosixPath(name).parent)].append(name)
        return {clip: sorted(names, key=natural) for clip, names in held.items()}

    def _found(self) -> Listing:
        """Of frames, each folder of pictures is one item, which cannot be used where a picture of it cannot."""
        if self.config.layout != "frames":
            return self._pictures
        problems: dict[str, Problem | None] = {}
        for name, problem in self._pictures.items:
            clip = str(PurePosixPath(name).parent)
            problems[clip] = problems.get(clip) or (None if problem is None else (problem[0], f"{name} {problem[1]}"))
        return replace(self._pictures, items=sorted(problems.items(), key=lambda item: os.fsencode(item[0])))
