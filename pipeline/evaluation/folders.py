"""A folder of images as anyone has it: read as it lies, each image of its own size, nothing set aside unsaid."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data import images
from pipeline.data.source import Limits, Rejected
from pipeline.settings import UserError
from pipeline.types import DataSpec

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
OTHER_IMAGES = frozenset({".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".heic"})
SHOWN = 3


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Every image below `root`, in the order of their paths, decoded when asked for.

    shapes: (C, H, W) of each. labels (n,): the first sub-folder, -1 = in none. sha256: of the files'
    contents in this order; names play no part.
    """

    root: Path
    names: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]
    labels: NDArray[np.int64]
    spec: DataSpec
    sha256: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> Counter[tuple[int, int, int]]:
        """How often each shape occurs."""
        return Counter(self.shapes)

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """`x`: uint8 (n, C, H, W) where shapes are equal, else (n,) of dtype object, an array each."""
        found = [_decoded(self.root / self.names[index]) for index in indices.tolist()]
        if len({image.shape for image in found}) == 1:
            return {"x": np.stack(found), "label": self.labels[indices]}
        x = np.empty(len(found), dtype=object)
        x[:] = found
        return {"x": x, "label": self.labels[indices]}


def open_folder(
    root: Path, where: str, progress: Callable[[int, int], None] = lambda done, total: None, skip: bool = False
) -> tuple[ImageFolder, list[str]]:
    """Read every image once, so that a broken one is known before any work; and what else is to be said.

    skip: leave broken images out instead of refusing them.

    Raises:
        UserError: for a folder without images, or with broken ones.
    """
    names, others = _listed(root)
    if not names:
        held = f"holds {others:,} other files and no images" if others else "is empty"
        raise UserError(f"{where} {root} {held}; images are PNG, JPEG or WebP")
    digest = hashlib.sha256()
    shapes: dict[str, tuple[int, int, int]] = {}
    broken: list[str] = []
    for done, name in enumerate(names, 1):
        try:
            image, sha256 = _read(root / name)
            shapes[name] = (image.shape[2], image.shape[0], image.shape[1])
            digest.update(sha256)
        except Rejected as error:
            broken.append(f"{name} ({error.reason}{f': {error.detail}' if error.detail else ''})")
        progress(done, len(names))
    if broken and not (skip and shapes):
        more = ", …" if len(broken) > SHOWN else ""
        raise UserError(
            f"{where} {root} holds {len(broken):,} broken image{'s' if len(broken) > 1 else ''} of {len(names):,}: "
            f"{', '.join(broken[:SHOWN])}{more}; remove {'them' if len(broken) > 1 else 'it'}, or give --skip-broken"
        )
    said = [f"{len(broken):,} broken image{'s' if len(broken) > 1 else ''} of {where} left out"] if broken else []
    return _folder(root, list(shapes), list(shapes.values()), digest.hexdigest()), said


def _folder(root: Path, names: Sequence[str], shapes: Sequence[tuple[int, int, int]], sha256: str) -> ImageFolder:
    tops = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = tuple(sorted(set(tops) - {""}))
    labels = np.array([classes.index(top) if top else -1 for top in tops], dtype=np.int64)
    spec = DataSpec("image", Counter(shapes).most_common(1)[0][0], classes)
    return ImageFolder(root, tuple(names), tuple(shapes), labels, spec, sha256)


def _listed(root: Path) -> tuple[list[str], int]:
    """Images below `root` by their relative paths, sorted, hidden ones left out; and how many other files there are."""
    names: list[str] = []
    others = 0
    for folder, inner, found in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in found:
            path = Path(folder) / name
            if name.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES | OTHER_IMAGES:
                names.append(path.relative_to(root).as_posix())
            else:
                others += 1
    return sorted(names, key=os.fsencode), others


def _read(path: Path) -> tuple[NDArray[np.uint8], bytes]:
    """uint8 (H, W, C) and the sha256 of the file."""
    limits = Limits()
    try:
        if path.stat().st_size > limits.max_bytes:
            raise Rejected("too many bytes", f"{path.stat().st_size}, allowed are {limits.max_bytes}")
        data = path.read_bytes()
    except OSError as error:
        raise Rejected("cannot be read", error.strerror or "") from None
    return images.decode(data, limits), hashlib.sha256(data).digest()


def _decoded(path: Path) -> NDArray[np.uint8]:
    try:
        return np.array(_read(path)[0].transpose(2, 0, 1), order="C")
    except Rejected as error:
        raise UserError(f"{path} changed while it was scored: {error.reason}") from None
