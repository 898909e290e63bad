"""What a machine keeps of a store: bundles of small files, and shards one by one as they are read.

<cache>/node/inputs/<bundle>/…  a bundle without its shards, and `elsewhere.json` where those would be
<cache>/node/blobs/<sha256>     a shard, whole and verified
<cache>/node/locks/…            who is fetching what

`elsewhere.json` names a store to connect to, so it is heeded only where this module writes it: in the cache, and in
the projects of jobs there. In any other folder it would be a stranger's word.

Both are bounded: beyond a budget the least lately used go. All processes of a machine share them.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout
from pydantic import ConfigDict

from pipeline.errors import BrokenArtefact
from pipeline.storage import files, forms
from pipeline.storage.bundles import ELSEWHERE, HASH, MANIFEST, Index
from pipeline.storage.forms import Count, Form
from pipeline.storage.store import Store

LEAST = 2**30  # bytes: a machine that keeps less would fetch the same again and again
SHARD = re.compile(r"[a-z_]+-\d{6,}\.tar")
KEPT = re.compile(r"\.?([0-9a-f]{64})(\.[0-9a-f]{8}\.tmp)?")  # a file by its sha256, or what `replacing` makes of one
JOBS = "jobs"  # in the cache folder: the projects of jobs


def node_folder() -> Path:
    """Where this machine keeps what it has fetched of stores."""
    return files.own_cache("node")


class NodeCache:
    """Bundles on this machine, each pulled once, the least lately used dropped beyond a budget.

    budget: bytes, of the bundles and of the shards each.
    """

    def __init__(self, budget: int) -> None:
        self.folder = node_folder()
        self.budget = budget

    def get(self, store: Store, key: str) -> Path:
        """The folder with a bundle's files, each verified when it came; shards come when they are read.

        Raises:
            BrokenArtefact: if the store holds something else than was pushed.
            UserError: if the store does not answer.
        """
        inputs = self.folder / "inputs"
        inputs.mkdir(parents=True, exist_ok=True)
        path = inputs / key
        with FileLock(str(inputs / ".lock")):
            if not path.is_dir():
                files.sweep_temporaries(inputs)
                with files.replacing_folder(path) as temporary:
                    self.pull(store, key, temporary)
            for card in path.rglob(ELSEWHERE):
                # This run's budget, not that of the run which pulled it.
                if RemoteShards.load(card.parent) != (now := RemoteShards(store.uri, self.budget)):
                    now.save(card.parent)
            os.utime(path)
            _trim(inputs, path, self.budget)
        return path

    def pull(self, store: Store, key: str, root: Path, within: Collection[str] = ()) -> None:
        """A bundle's files under `root`, as `Store.pull`, but shards, which come to this cache when they are read.

        Raises:
            BrokenArtefact: if the bundle brings a word of its own on where shards are, or names places outside.
        """
        index = store.index(key)
        if any(PurePosixPath(name).name == ELSEWHERE for name in index):
            raise BrokenArtefact(f"{store.uri}: the bundle {key[:12]}… holds {ELSEWHERE}, which is made here only")
        left = {name for name in index if _is_shard(name, index)}
        store.pull(key, root, left_out=left, within=within)
        for folder in {str(PurePosixPath(name).parent) for name in left}:
            RemoteShards(store.uri, self.budget).save(root / folder)


class _ElsewhereForm(Form):
    model_config = ConfigDict(extra="ignore")

    store: str
    budget: Count


@dataclass(frozen=True)
class RemoteShards:
    """Beside a manifest whose shards are in a store: which one, and how many bytes this machine keeps of it."""

    store: str
    budget: int

    def save(self, folder: Path) -> None:
        """As elsewhere.json of the folder."""
        files.write_json(folder / ELSEWHERE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> RemoteShards | None:
        """The folder's; None where the shards are in the folder itself.

        Raises:
            BrokenArtefact: if there is one where this machine has written none.
        """
        path = folder / ELSEWHERE
        if not os.path.lexists(path):
            return None
        ours = (node_folder() / "inputs", files.own_cache(JOBS))
        if not any(folder.resolve().is_relative_to(place.resolve()) for place in ours):
            raise BrokenArtefact(
                f"{path} names a store for these shards, which nobody but this machine's own cache may do; remove the "
                "file, and have the shards themselves in the folder"
            )
        found = forms.check(_ElsewhereForm, files.read_json(path, "the node's cache"), path, "the node's cache")
        return cls(found.store, found.budget)

    def blobs(self) -> Blobs:
        """Where they are read."""
        return Blobs(Store(self.store), node_folder(), self.budget)


class Blobs:
    """Files of a store by their sha256, fetched when they are first asked for."""

    def __init__(self, store: Store, folder: Path, budget: int) -> None:
        self._store = store
        self._folder = folder / "blobs"
        self._locks = folder / "locks"
        self._budget = budget

    def holds(self, sha256: str, size: int) -> bool:
        """Whether it is on this machine."""
        try:
            return (self._folder / sha256).stat().st_size == size
        except FileNotFoundError:
            return False

    def open(self, sha256: str, size: int) -> int:
        """A descriptor of the whole file, for the caller to close: what is dropped meanwhile stays readable.

        Raises:
            BrokenArtefact: if the store holds something else under this name, or nothing.
            UserError: if the store does not answer.
        """
        if HASH.fullmatch(sha256) is None:
            raise BrokenArtefact(f"'{sha256[:12]}…' is no sha256 of a shard")
        path = self._folder / sha256
        with suppress(FileNotFoundError):
            found = os.open(path, os.O_RDONLY)
            if os.fstat(found).st_size == size:
                _used(found)
                return found
            os.close(found)
        # Whoever comes second waits for the first, and finds it there.
        with self._fetching(sha256):
            if not self.holds(sha256, size):
                self._trim(self._budget - size, sha256)
                self._store.fetch(sha256, path, size)
            _used(path)
            opened = os.open(path, os.O_RDONLY)
        # Only now: of two that are fetched side by side, each would find the other's lock held, and leave it.
        self._trim(self._budget)
        return opened

    @contextmanager
    def _fetching(self, sha256: str) -> Generator[None]:
        self._locks.mkdir(parents=True, exist_ok=True)
        with FileLock(str(self._lock(sha256))):
            yield

    def _lock(self, sha256: str) -> Path:
        """One of 256: a lock's file cannot be removed safely, and there are more shards than these over the years."""
        return self._locks / f"{sha256[:2]}.lock"

    def _trim(self, budget: int, fetching: str = "") -> None:
        """Drop what was used least lately, and what killed processes left half fetched, but nothing being fetched.

        Files under other names than this class gives belong to others, and stay.
        fetching: whose lock is held here; if empty, the most recently used file is kept, even over budget.
        """
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            if KEPT.fullmatch(path.name) is None:
                continue
            with suppress(FileNotFoundError):  # another process drops it too
                status = path.stat()
                # What is half fetched goes first.
                found.append((0.0 if path.name.startswith(".") else status.st_mtime, status.st_size, path))
        found.sort()
        total = sum(size for _, size, _ in found)
        for used, size, path in found if fetching else found[:-1]:
            if total <= budget and used:
                return
            sha256 = path.name.lstrip(".").partition(".")[0]
            if sha256 == fetching and used:
                continue
            if fetching and sha256[:2] == fetching[:2]:
                path.unlink(missing_ok=True)  # its lock is held here
            else:
                try:
                    with FileLock(str(self._lock(sha256)), timeout=0):
                        if used and path.stat().st_mtime != used:
                            continue  # read since it was listed here
                        path.unlink()
                except Timeout:
                    continue
                except FileNotFoundError:
                    pass  # another process dropped it
            total -= size


def _used(file: int | Path) -> None:
    """Mark it as read now; the kernel's own clock for this moves in steps, within which several may be read."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))


def _is_shard(name: str, index: Index) -> bool:
    path = PurePosixPath(name)
    return SHARD.fullmatch(path.name) is not None and str(path.with_name(MANIFEST)) in index


def _trim(folder: Path, kept: Path, budget: int) -> None:
    folders = [path for path in folder.iterdir() if HASH.fullmatch(path.name) and path.is_dir() and path != kept]
    sizes = {path: _bytes_in(path) for path in (*folders, kept)}
    for path in sorted(folders, key=lambda path: path.stat().st_mtime):
        if sum(sizes.values()) <= budget:
            return
        shutil.rmtree(path, ignore_errors=True)
        del sizes[path]


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
