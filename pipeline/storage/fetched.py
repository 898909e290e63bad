"""What lies at an address, s3://… or http(s)://…, fetched into this machine's cache, once for all its processes.

<cache>/sources/<hash of the address>/data/<name>   the file, or the folder of all objects below a prefix
<cache>/sources/<hash of the address>/origin.json   where it is from and what it was there, written last
<cache>/sources/<hash of the address>/<identity>/   what is on its way: an interrupted download is resumed

What is there is asked for each time; what is here already, by ETag, size and time of change, is not fetched again.
`#sha256=…` behind an address of a file says what must come. Then nobody is asked once it is here.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import unquote, urldefrag, urlsplit

from filelock import FileLock

from pipeline import limits
from pipeline.errors import BrokenArtefact, SettingsError, UserError
from pipeline.redaction import bare
from pipeline.storage import download, files, filesystems

SCHEMES = ("s3", "http", "https")
ORIGIN = "origin.json"
SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})")
UNUSUAL = re.compile(r"[^\w.+,=(){}\[\] -]")  # in a file's name
PIECE = 8 * 2**20
ATTEMPTS = 5
SIDE_BY_SIDE = 16  # objects fetched at a time


def is_address(path: str) -> bool:
    """Whether a path names a file or a prefix elsewhere, not on this machine."""
    return path.partition("://")[0].lower() in SCHEMES and "://" in path


def name_of(address: str) -> str:
    """The last part of an address's path: what it may be called in records."""
    parts = urlsplit(address)
    name = PurePosixPath(unquote(parts.path)).name or parts.netloc.rpartition("@")[2]
    return "data" if name in ("", ".", "..") else UNUSUAL.sub("_", name)[-100:]


@dataclass(frozen=True)
class Remote:
    """What is at an address: each file by its path below it ("" where it is one file) with size, and time or ETag."""

    files: dict[str, tuple[int, str]]
    is_file: bool

    @property
    def identity(self) -> str:
        """One hash of it all."""
        return files.sha256_json({name: list(known) for name, known in self.files.items()})

    @property
    def bytes(self) -> int:
        """Of all files; -1 of one whose server does not say."""
        return sum(size for size, _ in self.files.values())


def account(address: str, where: str) -> dict[str, Any]:
    """What an address holds now, as DVC may compare it: without login, query and anything secret.

    Raises:
        UserError: if nobody answers there; `where` is the setting that names it.
    """
    shown, wanted = bare(address), _wanted(address, where)
    if wanted:
        return {"address": shown, "sha256": wanted}
    found = _ask(address, where)
    if found.is_file:
        ((size, known),) = found.files.values()
        return {"address": shown, "bytes": size, "identity": known}
    return {"address": shown, "bytes": found.bytes, "files": len(found.files), "identity": found.identity}


@functools.lru_cache(maxsize=2**15)
def local(address: str, where: str) -> str:
    """The path of the file or folder here, fetched if it has to be; asked for once a process.

    Args:
        where: the setting that names the address, for errors.

    Raises:
        SettingsError: if addresses of this kind are not read, or there is nothing.
        UserError: if it does not answer, is too large for this machine, or another file comes than its sha256 says.
    """
    plain, wanted = urldefrag(address)[0], _wanted(address, where)
    folder = files.own_cache("sources") / files.sha256_bytes(plain.encode())
    folder.mkdir(exist_ok=True)
    with FileLock(str(folder.with_suffix(".lock"))):
        here = folder / "data" / name_of(plain)
        kept = _origin(folder) if here.exists() else {}
        if wanted and kept.get("sha256") == wanted:
            return str(here)
        found = _ask(plain, where)
        if wanted and not found.is_file:
            raise SettingsError(f"{where}: a sha256 is that of a file, and {bare(plain)} is none")
        known = kept.get("identity") == found.identity and not (wanted and kept.get("sha256") != wanted)
        # A server that says nothing of its file may have another by now.
        if known and all(told for _, told in found.files.values()):
            return str(here)
        _check_size(found, plain, where, folder)
        print(f"fetching {bare(plain)} ({_described(found)})", file=sys.stderr, flush=True)
        sha256 = _fetch(plain, found, wanted, folder, here)
        files.write_json(folder / ORIGIN, {"address": bare(plain), "identity": found.identity, "sha256": sha256})
    return str(here)


def each_local(addresses: Sequence[str], where: str) -> list[str]:
    """`local` for many, a few side by side."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(lambda address: local(address, where), addresses))


def accounts(addresses: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """`account` for many (setting, address), a few side by side."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(lambda pair: account(pair[1], pair[0]), addresses))


def _wanted(address: str, where: str) -> str:
    """The sha256 that an address says behind #; empty where it says nothing."""
    fragment = urldefrag(address)[1]
    if not fragment:
        return ""
    match = SHA256.fullmatch(fragment)
    if match is None:
        raise SettingsError(f"{where}: what follows # in {bare(address)} must be sha256= and 64 hexadecimal digits")
    return match[1].lower()


def _origin(folder: Path) -> dict[str, Any]:
    try:
        found: Any = files.read_json(folder / ORIGIN, "the next fetch")
    except BrokenArtefact:
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _described(found: Remote) -> str:
    size = "unknown size" if found.bytes < 0 else f"{found.bytes:,} bytes"
    return size if found.is_file else f"{len(found.files):,} files, {size}"


def _check_size(found: Remote, address: str, where: str, folder: Path) -> None:
    shown = bare(address)
    if not found.files:
        raise SettingsError(f"{where}: there is nothing at {shown}")
    if len(found.files) > limits.SOURCE_FILES or found.bytes > limits.SOURCE_BYTES:
        raise UserError(
            f"{where}: {shown} holds {_described(found)}; at most {limits.SOURCE_FILES:,} files of "
            f"{limits.SOURCE_BYTES:,} bytes in all are fetched"
        )
    free = shutil.disk_usage(folder).free
    if found.bytes > free:
        raise UserError(
            f"{where}: {shown} holds {_described(found)}, and {folder.parent} has room for {free:,}; make room, or set "
            "ZEROSUM_CACHE to a folder that has more"
        )


# --- asking -------------------------------------------------------------------------------------------


def _ask(address: str, where: str) -> Remote:
    if urlsplit(address).scheme.lower() == "s3":
        return _ask_store(address, where)
    if not urlsplit(address).hostname:
        raise SettingsError(f"{where}: {bare(address)} names no host")
    try:
        told = download.headers(address)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    length = told.get("Content-Length", "")
    known = told.get("ETag") or told.get("Last-Modified") or ""
    return Remote({"": (int(length) if length.isdecimal() and len(length) < 20 else -1, known)}, True)


def _ask_store(address: str, where: str) -> Remote:
    from pyarrow import fs

    system, root = filesystems.opened(address, where)
    try:
        info: Any = system.get_file_info(root)
        if info.type == fs.FileType.File:
            return Remote({"": _object(info)}, True)
        if info.type == fs.FileType.NotFound:
            return Remote({}, False)
        listed: Any = system.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as error:
        raise UserError(f"{where}: {bare(address)} does not answer: {_sentence(error)}") from None
    found = {info.path[len(root) + 1 :]: _object(info) for info in listed if info.type == fs.FileType.File}
    for name in found:
        if name.startswith("/") or "\0" in name or {"", ".", ".."} & set(name.split("/")):
            raise UserError(f"{where}: {bare(address)} holds an object whose name is no path of a file: {name[:80]!r}")
    if above := {str(each) for name in found for each in PurePosixPath(name).parents} & found.keys():
        raise UserError(f"{where}: {bare(address)} holds '{min(above)}' as an object and as a folder of objects")
    return Remote(dict(sorted(found.items())), False)


def _object(info: Any) -> tuple[int, str]:
    changed: datetime | None = info.mtime
    return int(info.size), changed.isoformat() if changed else ""


def _sentence(error: OSError) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__


# --- fetching -----------------------------------------------------------------------------------------


def _fetch(address: str, found: Remote, wanted: str, folder: Path, here: Path) -> str:
    """Bring everything to its place; returns the sha256 of a file."""
    on_way = folder / (wanted or found.identity)[:32]
    for left in folder.iterdir():
        if left.is_dir() and left not in (on_way, folder / "data"):
            shutil.rmtree(left)  # of what was there before
    if not found.is_file:
        return _fetch_folder(address, found, on_way, here)
    (folder / ORIGIN).unlink(missing_ok=True)
    ((size, known),) = found.files.values()
    target = on_way / "file"
    on_way.mkdir(exist_ok=True)
    if urlsplit(address).scheme.lower() == "s3":
        _copy_object(address, "", (size, known), target)
        sha256 = files.sha256_file(target)
        if wanted and sha256 != wanted:
            target.unlink()
            raise UserError(
                f"{bare(address)} has sha256 {sha256[:16]}…, and {wanted[:16]}… is wanted; nothing was kept"
            )
    else:
        download.Download(address, wanted, known, ATTEMPTS, limit=limits.SOURCE_BYTES).to(target)
        sha256 = wanted or files.sha256_file(target)
    shutil.rmtree(here.parent, ignore_errors=True)
    here.parent.mkdir()
    target.replace(here)
    on_way.rmdir()
    return sha256


def _fetch_folder(address: str, found: Remote, on_way: Path, here: Path) -> str:
    """All objects below a prefix; those that are here already, by size and time, are taken over."""
    (here.parent.parent / ORIGIN).unlink(missing_ok=True)
    on_way.mkdir(exist_ok=True)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        futures = [
            pool.submit(_bring, address, name, known, here / name, on_way / name) for name, known in found.files.items()
        ]
        try:
            for future in futures:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    shutil.rmtree(here.parent, ignore_errors=True)
    here.parent.mkdir()
    on_way.rename(here)
    return ""


def _bring(address: str, name: str, known: tuple[int, str], before: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for place in (target, before):
        if place.is_file() and (place.stat().st_size, place.stat().st_mtime_ns) == (known[0], _time(known)):
            if place != target:
                os.link(place, target)
            return
    _copy_object(address, name, known, target.with_name(f"{target.name}.part"))
    target.with_name(f"{target.name}.part").replace(target)
    os.utime(target, ns=(_time(known), _time(known)))


def _time(known: tuple[int, str]) -> int:
    return int(datetime.fromisoformat(known[1]).timestamp()) * 10**9 if known[1] else 0


def _copy_object(address: str, name: str, known: tuple[int, str], target: Path) -> None:
    """One object, from where an interrupted try ended."""
    system, root = filesystems.opened(address)
    have = target.stat().st_size if target.is_file() else 0
    if have > known[0]:
        target.unlink()
        have = 0
    try:
        with system.open_input_file(f"{root}/{name}".rstrip("/")) as source, target.open("ab") as file:
            source.seek(have)
            for piece in _pieces(source):
                file.write(piece)
                have += len(piece)
                if have > known[0]:
                    break
    except OSError as error:
        if files.disk_is_full(error):
            raise
        raise UserError(f"{bare(address)} could not be fetched ({_sentence(error)}); run it again to go on") from None
    if have != known[0]:
        target.unlink()
        raise UserError(f"{bare(address)} changed while it was fetched; run it again once it rests")


def _pieces(source: Any) -> Iterable[bytes]:
    while piece := source.read(PIECE):
        yield bytes(piece)
