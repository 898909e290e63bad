"""Whether a training's scratch folder is still the one it began in.

    <scratch>/whole      written when a training begins in an empty place; gone where somebody removed the folder since

Checkpoints, snapshots that wait for their score, and grids belong together: what is written after some of it was
removed would pass for a whole run's, and be published with less in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.storage import files

MARK = "whole"


def begin(folder: Path, parts: Sequence[str], note: Callable[[str], None]) -> None:
    """Mark the folder; where it has no mark and yet some of `parts`, these are what a removal left, and are removed."""
    if is_whole(folder):
        return
    left = [folder / part for part in parts if (folder / part).exists()]
    if left:
        note(f"{folder} was removed in part while it was in use; beginning again")
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    files.write_bytes(folder / MARK, b"")


def is_whole(folder: Path) -> bool:
    """Whether the mark is where `begin` wrote it."""
    return (folder / MARK).exists()


def removed(folder: Path) -> str:
    """What a person is told where it is not."""
    return f"{folder} was removed while it was in use; run it again: it begins again"
