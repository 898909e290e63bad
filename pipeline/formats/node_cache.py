"""Bundles of a store on this machine: each pulled once, bounded, shared by its processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

from pipeline.formats import files
from pipeline.formats.store import Store


class NodeCache:
    """Bundles on this machine, each pulled once, the least lately used dropped beyond a budget.

    Processes share it through a lock; what a live process holds is not dropped while `budget` allows it.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.budget = budget

    def get(self, store: Store, key: str) -> Path:
        """The folder with a bundle's files, each verified when it came."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / key
        with FileLock(str(self.folder / ".lock")):
            if not path.is_dir():
                with files.replacing_folder(path) as temporary:
                    store.pull(key, temporary)
            os.utime(path)
            self._trim(path)
        return path

    def _trim(self, kept: Path) -> None:
        folders = [path for path in self.folder.iterdir() if path.is_dir() and path != kept]
        sizes = {path: _bytes_in(path) for path in (*folders, kept)}
        for path in sorted(folders, key=lambda path: path.stat().st_mtime):
            if sum(sizes.values()) <= self.budget:
                return
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
