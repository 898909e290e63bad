"""Checkpoints that outlive their machine: each is also in the object store, and comes back from there.

<storage>/checkpoints/<run>/<name>.json     which bundle a checkpoint is; written when all of it has arrived
<storage>/checkpoints/<run>/blobs, bundles  its files, and the grids drawn until then
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from pipeline.formats import files
from pipeline.formats.checkpoint import Checkpoint, CheckpointStore
from pipeline.formats.store import Store

CHECKPOINTS, GRIDS = "checkpoints", "grids"


class MirroredStore(CheckpointStore):
    """`checkpoints/` of a scratch folder on this machine, mirrored to a store of its own.

    store: nobody else's, since what is dropped here is dropped there.
    """

    def __init__(self, scratch: Path, keep: int, store: Store) -> None:
        super().__init__(scratch / CHECKPOINTS, keep)
        self._scratch = scratch
        self._store = store

    def save(self, checkpoint: Checkpoint, name: str | None = None) -> Path:
        """As on one machine, then sent; those that were dropped here are dropped there, last."""
        path = super().save(checkpoint, name)
        parts = [f"{CHECKPOINTS}/{path.name}", *([GRIDS] if (self._scratch / GRIDS).is_dir() else [])]
        document = f"{path.name}.json"
        before = str(self._store.read(document)["bundle"]) if self._store.holds(document) else ""
        bundle = self._store.push(self._scratch, parts)
        self._store.write(document, {"bundle": bundle})
        self._marker(path).write_text(bundle)
        if before not in ("", bundle):
            self._store.drop([before], kept=self._known().values())
        if name is None:
            here = {kept.name for kept in self.numbered()}
            known = self._known()
            gone = [old for old in known if old.isdigit() and old not in here and int(old) <= int(path.name)]
            for old in gone:
                self._store.remove(f"{old}.json")
            self._store.drop([known[old] for old in gone], kept=[known[left] for left in known if left not in gone])
        return path

    def names(self) -> list[str]:
        return sorted({*super().names(), *(name for name in self._known() if name.isdigit())})

    def latest(self, note: Callable[[str], None], limit: int | None = None) -> Path | None:
        """The newest whole one, of those here and those in the store."""
        for name in self._known():
            self.ready(self.folder / name)
        return super().latest(note, limit)

    def usable(self, name: str, limit: int) -> bool:
        if name in self._known():
            self.ready(self.folder / name)
        return super().usable(name, limit)

    def ready(self, path: Path) -> None:
        """Have the checkpoint on this machine; ranks of one machine take turns."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with FileLock(str(self._scratch / ".lock")):
            bundle = self._known().get(path.name)
            marker = self._marker(path)
            if bundle is None or (path.is_dir() and marker.exists() and marker.read_text() == bundle):
                return
            with files.replacing_folder(path) as folder:
                self._store.pull(bundle, folder)
                grids = folder / GRIDS
                if grids.is_dir():
                    shutil.copytree(grids, self._scratch / GRIDS, dirs_exist_ok=True)
                    shutil.rmtree(grids)
                arrived = folder / CHECKPOINTS / path.name
                for file in arrived.iterdir():
                    file.rename(folder / file.name)
                shutil.rmtree(folder / CHECKPOINTS)
            marker.write_text(bundle)

    def clear(self) -> None:
        super().clear()
        known = self._known()
        for name in known:
            self._store.remove(f"{name}.json")
        self._store.drop(list(known.values()), kept=[])

    def _marker(self, path: Path) -> Path:
        """Which bundle the folder on this machine is."""
        return self._scratch / f".{path.name}.bundle"

    def _known(self) -> dict[str, str]:
        """Name and bundle of each checkpoint in the store."""
        names = [name.removesuffix(".json") for name in self._store.names("") if name.endswith(".json")]
        return {name: str(self._store.read(f"{name}.json")["bundle"]) for name in sorted(names)}
