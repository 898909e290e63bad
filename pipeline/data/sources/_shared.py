"""What sources share: folders of files, large files and unpacked streams as memory maps, errors about missing files."""

from __future__ import annotations

import functools
import gzip
import os
import shlex
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data import listing, regular
from pipeline.data.kinds import Kind
from pipeline.data.links import Followed, Links
from pipeline.data.listing import Listing
from pipeline.data.source import Limits, printable
from pipeline.errors import SettingsError, UserError
from pipeline.natural import natural
from pipeline.settings import LocalPath

Bytes = NDArray[np.uint8]
PIECE = 2**20
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".7z", ".rar")


def require_file(path: str, where: str) -> None:
    """Refuse a `path` that is no file.

    Raises:
        SettingsError: about the key `where`.
    """
    if not Path(path).is_file():
        kind = "is a folder, not a file" if Path(path).is_dir() else "does not exist"
        raise SettingsError(f"{where}: '{path}' {kind} ({_how_read(path)})")


def require_folder(path: str, where: str) -> None:
    """Refuse a `path` that is no folder.

    Raises:
        SettingsError: about the key `where`.
    """
    if not Path(path).is_dir():
        kind = "is a file, not a folder" if Path(path).is_file() else "does not exist"
        if Path(f"{path}.dvc").is_file():
            raise SettingsError(f"{where}: '{path}' is not here; `dvc pull {shlex.quote(path)}.dvc` brings it")
        archive = Path(path).is_file() and path.endswith(ARCHIVES)
        packed = "; unpack it, and name the folder, or take the source archive" if archive else ""
        raise SettingsError(f"{where}: '{path}' {kind} ({_how_read(path)}){packed}")


def _how_read(path: str) -> str:
    variables = "; variables such as $HOME are not replaced, ~ is" if "$" in path else ""
    return f"paths are relative to {Path.cwd()}{variables}"


def linked(listings: Iterable[Listing]) -> tuple[Path, ...]:
    """The real places of these folders, and of those that links within them lead to."""
    return tuple(sorted({Path(place) for found in listings for place in found.linked}))


def identity(path: Path) -> tuple[str, int, int]:
    """What a cached view of a file is known by: path, size, time of change."""
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def spool(copy: Callable[[BinaryIO], None]) -> Bytes:
    """What `copy` writes, as a read-only memory map of an unnamed temporary file."""
    with tempfile.TemporaryFile() as file:
        copy(file)
        file.flush()
        if file.tell() == 0:
            return np.zeros(0, dtype=np.uint8)
        return np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))


def mapped(path: Path) -> Bytes:
    """The bytes of a plain file, mapped."""
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) if path.stat().st_size else np.zeros(0, np.uint8)


def unzipped(path: Path, max_bytes: int) -> Bytes:
    """The bytes of a file, unpacked first where it is gzip; opened once a process.

    Raises:
        UserError: if it is damaged, or unpacks to more than `max_bytes`.
    """
    return _unzipped(*identity(path), max_bytes)


@functools.lru_cache(maxsize=8)
def _unzipped(path: str, _size: int, _changed: int, max_bytes: int) -> Bytes:
    with Path(path).open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if not zipped:
        return mapped(Path(path))
    try:
        with gzip.open(path, "rb") as stream:
            return spool(lambda file: copy_capped(stream, file, max_bytes, path))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut short ({error}); fetch it again") from None


def copy_capped(stream: gzip.GzipFile, file: BinaryIO, max_bytes: int, path: str) -> None:
    """Copy a stream, but no more than `max_bytes` of it.

    Raises:
        UserError: if there is more.
    """
    written = 0
    while piece := stream.read(PIECE):
        written += len(piece)
        if written > max_bytes:
            raise UserError(f"{path} unpacks to more than {max_bytes} bytes; if you trust it, raise max_unpacked_bytes")
        file.write(piece)


def file_bytes(path: Path, limits: Limits) -> bytes:
    """What a file holds.

    Raises:
        Rejected: if it is no regular file, cannot be read, or is larger than one item may be.
    """
    return regular.read(path, limits.max_bytes)


# --- folders of files -------------------------------------------------------------------------------

LinksSetting = Literal["auto", "inside"] | tuple[LocalPath, ...]
LINKS = (
    "which links are followed. auto: to what lies in the folder, in folders beside it, and in the stores of DVC, "
    "git-annex and model hubs; inside: to what lies in the folder; or a list of folders that they may lead to as well"
)
ALLOW = "ingest.source.links: [{}] would follow it"
SHOWN = 3


def listed(folder: str, kind: Kind, links: Links, below: str = "") -> Listing:
    """What lies in a source's folder, or in its sub-folder `below`; links may lead anywhere within the folder.

    Where a sub-folder that settings name is a link, `auto` takes its real place for a part of the folder.
    """
    root = Path(folder)
    within = (root, root / below) if below and links == "auto" else (root,)
    return listing.listed(root / below, kind, links, within, ALLOW)


def require_links(links: Links, where: str) -> None:
    """Raise a `SettingsError` unless every folder in a list of `links` is there."""
    if not isinstance(links, str):
        for number, folder in enumerate(links):
            require_folder(folder, f"{where}.links[{number}]")


def require_items(found: Listing, folder: Path | str, where: str) -> None:
    """Refuse a folder that holds no item.

    Raises:
        SettingsError: about the key `where`; it says what the folder holds instead.
    """
    if found.items:
        return
    if not found.passed:
        raise SettingsError(f"{where}: '{folder}' is empty")
    held = listing.described(listing.counted(found.named()))
    raise SettingsError(
        f"{where}: '{folder}' holds no {found.kind.name}, only what is passed over ({held}); {found.kind.read} are read"
    )


def require_followed(found: Listing, where: str) -> None:
    """Refuse class folders that are links which are not followed: a whole class would be missing.

    Raises:
        SettingsError: about the folder's key.
    """
    names = sorted((name for name in found.unfollowed if "/" not in name), key=natural)
    if not names:
        return
    shown = ", ".join(f"{printable(name)} → {found.unfollowed[name]}" for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    places = list(dict.fromkeys(found.unfollowed[name] for name in names))
    if len(places) > SHOWN and len({Path(place).is_absolute() for place in places}) == 1:
        places = [os.path.commonpath(places) or "."]
    whole = "all its" if not found.folders else f"{len(names)} of its"
    raise SettingsError(
        f"{where}.folder: {whole} class folders are links that are not followed ({listing.LEAVING}): "
        f"{shown}{more}; if that data is meant, set {where}.links: [{', '.join(places)}]"
    )


def refuse_splits(found: Listing, folder: str, where: str, key: str = "folder", above: str | None = None) -> None:
    """Refuse sub-folders that are parts of a data set (train, val, test), not classes of it.

    key: the setting that would name one of them, below `above` (`folder`).

    Raises:
        SettingsError: about the key, with a folder that would do.
    """
    if not listing.are_splits(found.folders):
        return
    names = sorted(found.folders, key=natural)
    best = next((name for name in names if name.lower().startswith("train")), names[0])
    counts = {name: f"{count:,} {found.kind.name}{'s' if count > 1 else ''}" for name, count in found.folders.items()}
    held = ", ".join(f"'{printable(name)}' ({counts[name]})" for name in names)
    told = f"{(folder if above is None else above).rstrip('/')}/{best}".lstrip("/" if above is not None else "")
    what = "splits of one data set" if len(names) > 1 else "a split of a data set"
    raise SettingsError(
        f"{where}.{key}: '{folder}' holds {what}, not classes: {held}; name one of them, such as {key}: {told} "
        "(ingest cuts its own holdout from it)"
    )


def require_subfolder(folder: str, name: str, where: str, links: Links) -> None:
    """Refuse a `folder` without a sub-folder `name`, or with one where `links` do not let it be.

    Raises:
        SettingsError: about the key `where`.
    """
    path = Path(folder) / name
    if not path.is_dir():
        there = sorted((child.name for child in Path(folder).iterdir() if child.is_dir()), key=natural)
        shown = [each for each in there if not each.startswith(".")]
        known = f"; there are {', '.join(map(printable, shown[:8]))}" if shown else ", nor any other"
        within = [each for each in shown if listing.are_splits([each]) and (path.parent / each / name).is_dir()]
        advice = f"; '{within[-1]}' holds one: set folder: {Path(folder) / within[-1]}" if within else ""
        raise SettingsError(f"{where}: '{folder}' holds no sub-folder '{name}'{known}{advice}")
    target = os.path.realpath(path)
    if links != "auto" and not Followed((Path(folder),), links).may(target, is_folder=True):
        raise SettingsError(
            f"{where}: '{path}' is a link to {target}, which is not followed; set links: auto, or links: [{target}]"
        )


def require_apart(folder: str, one: str, other: str, where: str) -> None:
    """Refuse two sub-folders that are one folder, or lie within each other, however they are written.

    Raises:
        SettingsError: about the key `where`.
    """
    real, also = (os.path.realpath(Path(folder) / name) for name in (one, other))
    if os.path.commonpath((real, also)) not in (real, also):
        return
    what = "are one folder" if real == also else "lie one within the other"
    raise SettingsError(f"{where}.target: input '{one}' and target '{other}' {what}, {real}; name two that are apart")
