"""A folder of images: each image is read at its own size, and what cannot be used is reported."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data import images, kinds, listing, regular
from pipeline.data.source import USUAL, Limits, printable
from pipeline.errors import Rejected, UserError
from pipeline.natural import natural
from pipeline.types import DataSpec

SHOWN = 3
LARGE = "too many pixels"


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Every image below `root`, in the order of their paths' bytes, decoded when asked for.

    shapes: (C, H, W) of each. labels (n,): the first sub-folder by its place in natural order, -1 = in none.
    sha256: of the files' contents in this order; names play no part.
    """

    root: Path
    names: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]
    labels: NDArray[np.int64]
    spec: DataSpec
    sha256: str
    limits: Limits = USUAL

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> Counter[tuple[int, int, int]]:
        """How often each shape occurs."""
        return Counter(self.shapes)

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """`x`: uint8 (n, C, H, W) where shapes are equal, else (n,) of dtype object, an array each."""
        found = [_decoded(self.root / self.names[index], self.limits) for index in indices.tolist()]
        if len({image.shape for image in found}) == 1:
            return {"x": np.stack(found), "label": self.labels[indices]}
        x = np.empty(len(found), dtype=object)
        x[:] = found
        return {"x": x, "label": self.labels[indices]}


def open_folder(
    root: Path,
    where: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    skip: bool = False,
    limits: Limits = USUAL,
) -> tuple[ImageFolder, list[str]]:
    """Read every image once, so that a broken one is known before any work; and what else is to be said.

    Links are followed as sources do by default (`links: auto`); one that is broken or not followed is a broken image.
    skip: leave broken images out instead of refusing them.

    Raises:
        UserError: for a folder without images, or with broken ones.
    """
    found = listing.listed(root, kinds.IMAGES)
    passed = listing.counted(found.named())
    others = f"{sum(passed.values()):,} other file{'s' if sum(passed.values()) > 1 else ''}" if passed else ""
    if not found.items:
        held = f"holds {others} and no images ({listing.described(passed)})" if passed else "is empty"
        raise UserError(f"{where} {root} {held}; images are PNG, JPEG or WebP")
    digest = hashlib.sha256()
    shapes: dict[str, tuple[int, int, int]] = {}
    broken: list[str] = []
    large = False
    for done, (name, problem) in enumerate(found.items, 1):
        try:
            if problem is not None:
                raise Rejected(*problem)
            image, sha256 = _read(root / name, limits)
            shapes[name] = (image.shape[2], image.shape[0], image.shape[1])
            digest.update(sha256)
        except Rejected as error:
            large |= error.reason == LARGE
            broken.append(f"{printable(name)} ({error.reason}{f': {error.detail}' if error.detail else ''})")
        progress(done, len(found.items))
    if broken and not (skip and shapes):
        more = ", …" if len(broken) > SHOWN else ""
        them = "them" if len(broken) > 1 else "it"
        advice = f"remove {them}, or give --skip-broken" if len(broken) < len(found.items) else "none can be read"
        advice += "; --max-pixels lets large ones in" if large else ""
        raise UserError(
            f"{where} {root} holds {len(broken):,} broken image{'s' if len(broken) > 1 else ''} of "
            f"{len(found.items):,}: {', '.join(broken[:SHOWN])}{more}; {advice}"
        )
    said = [f"{len(broken):,} broken image{'s' if len(broken) > 1 else ''} of {where} left out"] if broken else []
    if passed:
        said.append(f"{where}: {others} passed over: {listing.described(passed)}")
    if any(why == kinds.GRID for _, why in found.passed):
        said.append(f"{where}: grids that zerosum made show many samples in one picture, and are no samples")
    if listing.are_splits(found.folders):
        held = ", ".join(f"{name} ({found.folders[name]:,})" for name in sorted(found.folders, key=natural))
        said.append(f"{where} holds splits, and all of them are scored together: {held}; name one of them to score it")
    return _folder(root, list(shapes), list(shapes.values()), digest.hexdigest(), limits), said


def _folder(
    root: Path, names: Sequence[str], shapes: Sequence[tuple[int, int, int]], sha256: str, limits: Limits
) -> ImageFolder:
    tops = [printable(name.partition("/")[0]) if "/" in name else "" for name in names]
    classes = tuple(sorted(set(tops) - {""}, key=natural))
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number.get(top, -1) for top in tops], dtype=np.int64)
    spec = DataSpec("image", Counter(shapes).most_common(1)[0][0], classes)
    return ImageFolder(root, tuple(names), tuple(shapes), labels, spec, sha256, limits)


def _read(path: Path, limits: Limits) -> tuple[NDArray[np.uint8], bytes]:
    """uint8 (H, W, C) and the sha256 of the file."""
    data = regular.read(path, limits.max_bytes)
    return images.decode(data, limits), hashlib.sha256(data).digest()


def _decoded(path: Path, limits: Limits) -> NDArray[np.uint8]:
    try:
        return np.array(_read(path, limits)[0].transpose(2, 0, 1), order="C")
    except Rejected as error:
        raise UserError(f"{path} changed while it was scored: {error.reason}") from None
