"""Artefacts in a place that workstation and cluster both reach: files by their sha256, in a folder or on S3.

<uri>/blobs/<sha256>            a file's bytes, written once
<uri>/bundles/<sha256>.json     which files, by relative path, belong together; its name is its own sha256
<uri>/<name>                    small named documents (a job's ticket and its end)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Container, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pipeline import limits
from pipeline.errors import BrokenArtefact, Damaged, UserError
from pipeline.storage import bundles, files
from pipeline.storage.bundles import ELSEWHERE, HASH, Index
from pipeline.storage.damage import parse_json
from pipeline.storage.filesystems import ATTEMPTS, opened

PIECE = 8 * 2**20  # bytes read or written at a time
# Where the AWS library gives up early: an error's text that is longer than the object read has no room in its buffer,
# and the end of an upload in parts has fewer attempts than the rest.
GIVEN_UP = ("Failed to flush response stream", "during CompleteMultipartUpload")

Answer = TypeVar("Answer")


class Store:
    """Files and folders under one URI: `s3://bucket/prefix?region=…&endpoint_override=…`, or a folder's path.

    Credentials are those that AWS's tools find (environment, profile, instance role).

    Raises:
        UserError: on every call, saying what the store answered, where it does not do as asked.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._fs, self._root = opened(uri)

    def push(self, root: Path, paths: Iterable[str], held: Index | None = None) -> str:
        """Files, and folders with all that is in them, named relative to `root`; returns the bundle's key.

        What is there already, by its content, is not sent again. This machine's notes of where shards are stay here.
        held: files that belong to the bundle and are in the store alone, such as shards that were not fetched.
        """
        index: dict[str, dict[str, Any]] = {
            name: {"sha256": sha256, "bytes": size} for name, (sha256, size) in (held or {}).items()
        }
        for path in sorted(_within(root, paths)):
            index[path.relative_to(root).as_posix()] = {"sha256": self.put(path), "bytes": path.stat().st_size}
        content = files.canonical_json({"files": index})
        key = files.sha256_bytes(content)
        if self._size(f"bundles/{key}.json") != len(content):
            self._write(f"bundles/{key}.json", content)
        return key

    def pull(self, key: str, root: Path, left_out: Container[str] = (), within: Collection[str] = ()) -> list[Path]:
        """A bundle's files under `root`, each whole and verified before it has its name; those that match are kept.

        A link that stands in place of a file is replaced, and one in place of a folder refused.
        left_out: names of files that are not wanted. within: the only files and folders that it may hold; else any.

        Raises:
            BrokenArtefact: if the store holds something else than was pushed, or the bundle names other places.
        """
        index = self.index(key)
        if within:
            bundles.within(index, within, f"{self.uri}: the bundle {key[:12]}…")
        found: list[Path] = []
        for name, (sha256, size) in index.items():
            if name in left_out:
                continue
            path = bundles.way(root, name)
            if path.is_symlink() or not (path.is_file() and files.sha256_file(path) == sha256):
                self.fetch(sha256, path, size)
            found.append(path)
        return found

    def index(self, key: str) -> Index:
        """A bundle's files by their relative paths: sha256 and bytes of each.

        Raises:
            BrokenArtefact: if there is no such bundle, it is not what was pushed, or names places outside.
        """
        name, shown = f"bundles/{key}.json", f"{self.uri}: the bundle {key[:12]}…"
        if HASH.fullmatch(key) is None:
            raise BrokenArtefact(f"{shown} is named by no sha256")
        if not self.holds(name):
            raise BrokenArtefact(f"{self.uri} holds no bundle {key[:12]}…")
        content = self._bytes(name)
        if files.sha256_bytes(content) != key:
            raise BrokenArtefact(f"{shown} is not what was pushed; push it again")
        return bundles.index(_json(content, shown), shown)

    def put(self, path: Path) -> str:
        """One file by its content, for `fetch`; returns its sha256. What is there already is not sent again."""
        sha256 = files.sha256_file(path)
        self._send(path, f"blobs/{sha256}", path.stat().st_size)
        return sha256

    def fetch(self, sha256: str, path: Path, size: int | None = None) -> None:
        """One file by its content, whole and verified before it has its name.

        size: in bytes, where it is known: no more is read.

        Raises:
            BrokenArtefact: if the store holds something else under it.
        """
        name = f"blobs/{sha256}"
        if HASH.fullmatch(sha256) is None:
            raise BrokenArtefact(f"{self.uri}: '{sha256[:12]}…' is no sha256")
        with self._answered(name), files.replacing(path) as temporary:
            found = _patient(lambda: self._copied(name, temporary, size))
            if found != sha256:
                raise BrokenArtefact(
                    f"{self.uri}: {name[:18]}… has sha256 {found[:12]}…; remove it there and push again"
                )

    def holds(self, name: str) -> bool:
        """Whether there is a document of this name."""
        return self._size(name) is not None

    def write(self, name: str, value: Any) -> str:
        """A named JSON document, replacing what it was; returns the sha256 by which `read` knows it again."""
        content = files.canonical_json(value)
        self._write(name, content)
        return files.sha256_bytes(content)

    def write_text(self, name: str, text: str) -> None:
        """A named document of any text, replacing what it was."""
        self._write(name, text.encode())

    def read_text(self, name: str) -> str:
        """What `write_text` wrote; empty where there is no such document."""
        return self._bytes(name).decode(errors="replace") if self.holds(name) else ""

    def sha256(self, name: str) -> str:
        """That of a document's bytes, as they are now."""
        return files.sha256_bytes(self._bytes(name))

    def read(self, name: str, sha256: str | None = None) -> Any:
        """A named JSON document.

        sha256: what it must have, as whoever sent the name here has told by another way.

        Raises:
            BrokenArtefact: if there is none, it is torn, or another one.
        """
        if not self.holds(name):
            raise BrokenArtefact(f"{self.uri} holds no {name}")
        content = self._bytes(name)
        if sha256 is not None and files.sha256_bytes(content) != sha256:
            raise BrokenArtefact(f"{self.uri}: {name} is not the one that was written; somebody has changed it")
        return _json(content, f"{self.uri}: {name}")

    def names(self, folder: str) -> list[str]:
        """The documents of a folder, sorted, without the folder's name."""
        return self._listed(folder, "File")

    def folders(self, folder: str) -> list[str]:
        """The folders in a folder, sorted, without its name; those of an object store may be empty."""
        return self._listed(folder, "Directory")

    def remove(self, name: str) -> None:
        """Remove a document, or nothing where there is none."""
        if self.holds(name):
            with self._answered(name):
                self._fs.delete_file(f"{self._root}/{name}")

    def drop(self, keys: Iterable[str], kept: Iterable[str]) -> None:
        """Remove bundles, and those of their files that no bundle of `kept` names: for a store of one owner."""
        needed = {sha256 for key in kept for sha256 in self._blobs(key)}
        for key in keys:
            for sha256 in self._blobs(key) - needed:
                self.remove(f"blobs/{sha256}")
            self.remove(f"bundles/{key}.json")

    def sweep(self, folder: str) -> None:
        """Remove a folder with all that is in it, or nothing where there is none."""
        from pyarrow import fs

        path = f"{self._root}/{folder}"
        with self._answered(folder):
            infos: Any = self._fs.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
            for info in infos:
                if info.type == fs.FileType.File:
                    self._fs.delete_file(info.path)
            if isinstance(self._fs, fs.LocalFileSystem) and infos:
                self._fs.delete_dir(path)

    def within(self, name: str) -> Store:
        """A store of its own in a folder of this one."""
        head, mark, options = self.uri.partition("?")
        return Store(f"{head.rstrip('/')}/{name}{mark}{options}")

    def _listed(self, folder: str, kind: str) -> list[str]:
        from pyarrow import fs

        with self._answered(folder):
            infos: Any = self._fs.get_file_info(
                fs.FileSelector(f"{self._root}/{folder}".rstrip("/"), allow_not_found=True)
            )
        return sorted(str(info.base_name) for info in infos if info.type == getattr(fs.FileType, kind))

    def _blobs(self, key: str) -> set[str]:
        """The files of a bundle; none where it is missing or torn."""
        try:
            return {sha256 for sha256, _ in self.index(key).values()}
        except BrokenArtefact:
            return set()

    def _send(self, path: Path, name: str, size: int) -> None:
        if self._size(name) == size:
            return

        def send() -> None:
            with path.open("rb") as source, self._writing(name) as target:
                for piece in _pieces(source):
                    target.write(piece)

        with self._answered(name):
            _patient(send)

    def _copied(self, name: str, target: Path, size: int | None) -> str:
        """To a file here, and no more than `size` bytes; the sha256 of what came."""
        digest, came = hashlib.sha256(), 0
        with self._fs.open_input_stream(f"{self._root}/{name}") as source, target.open("wb") as file:
            for piece in _pieces(source):
                digest.update(piece)
                came += len(piece)
                if size is not None and came > size:
                    break
                file.write(piece)
        return digest.hexdigest()

    def _bytes(self, name: str) -> bytes:
        """A whole document.

        Raises:
            BrokenArtefact: if it is larger than one may be.
        """

        def read() -> bytes:
            with self._fs.open_input_stream(f"{self._root}/{name}") as source:
                return bytes(source.read(limits.JSON_BYTES + 1))

        with self._answered(name):
            content = _patient(read)
        if len(content) > limits.JSON_BYTES:
            raise BrokenArtefact(f"{self.uri}: {name} is larger than {limits.JSON_BYTES:,} bytes")
        return content

    def _write(self, name: str, content: bytes) -> None:
        def write() -> None:
            with self._writing(name) as target:
                target.write(content)

        with self._answered(name):
            _patient(write)

    @contextmanager
    def _writing(self, name: str) -> Generator[Any]:
        """To a folder by a temporary name; S3's objects appear only when they are whole."""
        from pyarrow import fs

        path = f"{self._root}/{name}"
        if not isinstance(self._fs, fs.LocalFileSystem):
            with self._fs.open_output_stream(path) as target:
                yield target
            return
        with files.replacing(Path(path)) as temporary, temporary.open("wb") as target:
            yield target

    def _size(self, name: str) -> int | None:
        from pyarrow import fs

        with self._answered(name):
            info: Any = self._fs.get_file_info(f"{self._root}/{name}")
        return int(info.size) if info.type == fs.FileType.File else None

    @contextmanager
    def _answered(self, name: str) -> Generator[None]:
        """What the store or the way to it does not do, as a sentence; a full disk stays what it is."""
        try:
            yield
        except OSError as error:
            if files.disk_is_full(error):
                raise
            raise UserError(f"run.storage: {self.uri} does not answer for {name[:40]}: {_sentence(error)}") from None


def _within(root: Path, paths: Iterable[str]) -> Iterator[Path]:
    for name in paths:
        path = root / name
        if path.is_dir():
            yield from (found for found in path.rglob("*") if found.is_file() and found.name != ELSEWHERE)
        elif path.is_file():
            yield path
        else:
            raise BrokenArtefact(f"{name} is missing; run the stage that makes it")


def _pieces(source: Any) -> Iterator[bytes]:
    while piece := source.read(PIECE):
        yield bytes(piece)


def _patient(act: Callable[[], Answer]) -> Answer:
    """Read or write again what the AWS library gave up early; other errors it has met with retries of its own."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return act()
        except OSError as error:
            if not any(sign in str(error) for sign in GIVEN_UP):
                raise
            time.sleep(0.1 * 2**attempt)
    return act()


def _json(content: bytes, what: str) -> Any:
    try:
        return parse_json(content)
    except Damaged as error:
        raise BrokenArtefact(f"{what} is not valid JSON ({error})") from None


def _sentence(error: OSError) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
