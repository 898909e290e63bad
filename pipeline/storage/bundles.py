"""What a bundle's index may say, and where its files may be put: whoever can write to a store writes both.

{"files": {<relative path>: {"sha256": …, "bytes": …}}}
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from pipeline.errors import BrokenArtefact
from pipeline.storage import forms
from pipeline.storage.forms import Count, Form, Sha256

ELSEWHERE = "elsewhere.json"  # beside a manifest whose shards are in a store: a note of this machine's own
MANIFEST = "manifest.json"  # beside shards: the file by which a folder is known to hold them
HASH = re.compile(r"[0-9a-f]{64}")


def _inner(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or str(path) != name or name == ".":
        raise ValueError("a name leads outside its folder, or is not a plain path")
    return name


class _EntryForm(Form):
    sha256: Sha256
    bytes: Count


class _IndexForm(Form):
    files: dict[Annotated[str, AfterValidator(_inner)], _EntryForm]


Index = dict[str, tuple[str, int]]
"""By relative path: sha256 and bytes."""


def index(data: object, where: str) -> Index:
    """The files of a bundle.

    Raises:
        BrokenArtefact: if a name leads out of its folder, or a field is not what it must be.
    """
    found = forms.check(_IndexForm, data, where, "what pushed it").files
    return {name: (entry.sha256, entry.bytes) for name, entry in found.items()}


def within(names: Collection[str], folders: Collection[str], where: str) -> None:
    """Refuse a bundle with a name that is none of `folders`, nor in one of them.

    Raises:
        BrokenArtefact: naming the first.
    """
    for name in names:
        if not any(PurePosixPath(name).is_relative_to(folder) for folder in folders):
            raise BrokenArtefact(
                f"{where}: it names '{forms.printable(name)}', outside of {', '.join(sorted(folders))}; it was not "
                "pushed for this"
            )


def way(root: Path, name: str) -> Path:
    """Where a file of a bundle is put.

    Raises:
        BrokenArtefact: if the way there leads through a link below `root`: nothing is written through one.
    """
    path = root / name
    for parent in path.parents:
        if parent == root:
            return path
        if parent.is_symlink():
            raise BrokenArtefact(f"{parent} is a link, through which nothing is written; remove it")
    raise BrokenArtefact(f"{path} is outside of {root}")
