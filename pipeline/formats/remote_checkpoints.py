"""Checkpoints that outlive their machine: each is also in the object store, and comes back from there.

<storage>/checkpoints/<run>/<name>.json     which bundle a checkpoint is; written when all of it has arrived
<storage>/checkpoints/<run>/blobs, bundles  its files, and the grids drawn until then
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from pipeline.errors import BrokenArtefact
from pipeline.formats.checkpoint import Checkpoint, CheckpointStore
from pipeline.storage import files
from pipeline.storage.store import Store

CHECKPOINTS, GRIDS = "checkpoints", "grids"
NAMED = re.compile(r"\d+|[a-z_]+")


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
        before = None
        with contextlib.suppress(BrokenArtefact):
            before = self._bundle(path.name)
        bundle = self._store.push(self._scratch, parts)
        self._store.write(document, {"bundle": bundle})
        self._marker(path).write_text(bundle, encoding="utf-8")
        if before not in (None, bundle):
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
        """The newest whole one, of those here and those in the store; torn ones are said and removed."""
        for name in self._documents():
            try:
                self.ready(self.folder / name)
            except BrokenArtefact as error:
                note(f"checkpoint {name} of the store is broken ({error}); going back to the one before")
                self._forget(name)
        return super().latest(note, limit)

    def usable(self, name: str, limit: int) -> bool:
        try:
            self.ready(self.folder / name)
        except BrokenArtefact:
            return False
        return super().usable(name, limit)

    def ready(self, path: Path) -> None:
        """Have the checkpoint on this machine; ranks of one machine take turns."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with FileLock(str(self._scratch / ".lock")):
            bundle = self._bundle(path.name)
            marker = self._marker(path)
            if bundle is None or (path.is_dir() and marker.exists() and marker.read_text(encoding="utf-8") == bundle):
                return
            with files.replacing_folder(path) as folder:
                self._store.pull(bundle, folder, within=(f"{CHECKPOINTS}/{path.name}", GRIDS))
                grids = folder / GRIDS
                if grids.is_dir():
                    shutil.copytree(grids, self._scratch / GRIDS, dirs_exist_ok=True)
                    shutil.rmtree(grids)
                arrived = folder / CHECKPOINTS / path.name
                if not arrived.is_dir():
                    raise BrokenArtefact(f"{self._store.uri}: the bundle of {path.name} holds no checkpoint")
                for file in arrived.iterdir():
                    file.rename(folder / file.name)
                shutil.rmtree(folder / CHECKPOINTS)
            marker.write_text(bundle, encoding="utf-8")

    def clear(self) -> None:
        super().clear()
        known = self._known()
        for name in self._documents():
            self._store.remove(f"{name}.json")
        self._store.drop(list(known.values()), kept=[])

    def _marker(self, path: Path) -> Path:
        """Which bundle the folder on this machine is."""
        return self._scratch / f".{path.name}.bundle"

    def _forget(self, name: str) -> None:
        """Remove a broken one with its files, which would otherwise pass for sent when they are made again."""
        bundle = self._known().get(name)
        self._store.remove(f"{name}.json")
        if bundle is not None:
            self._store.drop([bundle], kept=self._known().values())

    def _documents(self) -> list[str]:
        """The names of the checkpoints in the store; other documents there are left alone."""
        found = (name.removesuffix(".json") for name in self._store.names("") if name.endswith(".json"))
        return sorted(name for name in found if NAMED.fullmatch(name))

    def _bundle(self, name: str) -> str | None:
        """Which bundle a checkpoint of the store is; None where there is none.

        Raises:
            BrokenArtefact: if its document is torn.
        """
        document = f"{name}.json"
        if not self._store.holds(document):
            return None
        found = self._store.read(document)
        if not (isinstance(found, dict) and isinstance(found.get("bundle"), str)):  # pyright: ignore
            raise BrokenArtefact(f"{self._store.uri}: {document} names no bundle")
        return str(found["bundle"])  # pyright: ignore

    def _known(self) -> dict[str, str]:
        """Name and bundle of each checkpoint in the store whose document is whole."""
        found: dict[str, str] = {}
        for name in self._documents():
            with contextlib.suppress(BrokenArtefact):
                found[name] = self._bundle(name) or ""
        return {name: bundle for name, bundle in found.items() if bundle}
