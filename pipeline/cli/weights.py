"""`zerosum weights …`: the networks that scores are measured with, fetched once, verified, as safetensors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pipeline.cli.download import Download, Progress
from pipeline.errors import UserError
from pipeline.extractors import _inception_weights as inception
from pipeline.redaction import bare
from pipeline.settings import home, suggest
from pipeline.storage import files
from pipeline.streams import terminal

KNOWN = ("inception",)


@dataclass(frozen=True)
class Fetched:
    """The safetensors file, and whether this call made it."""

    path: Path
    new: bool


def fetch(
    name: str,
    source: str | None = None,
    folder: Path | None = None,
    sha256: str | None = None,
    download: Callable[[str, str], Download] = Download,
) -> Fetched:
    """Get the weights `name` from `source` (a URL or a file; else the public one) into `folder` (else the cache).

    The public .pth file is read with weights_only, its names and shapes are checked, BatchNorm is
    folded, and the result is written as safetensors with a small JSON file beside it that says
    where it came from. `sha256` is that of the .pth file; another one than the public file's makes
    other weights, under another name, whose scores are not called fid.

    Raises:
        UserError: for an unknown name, a wrong sha256, a server that is gone, or a file that is no such state dict.
    """
    if name not in KNOWN:
        raise UserError(f"there are no weights called '{name}'{suggest(name, KNOWN)}")
    wanted = (sha256 or inception.PUBLIC_SHA256).lower()
    if len(wanted) != 64 or set(wanted) - set("0123456789abcdef"):
        raise UserError(f"--sha256 {sha256}: must be 64 hexadecimal digits")
    folder = folder or files.cache_folder()
    public = wanted == inception.PUBLIC_SHA256
    target = folder / (inception.CACHED if public else f"inception-of-{wanted[:8]}.safetensors")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{target.name}.lock"):
            if _whole(target, wanted):
                return Fetched(target, new=False)
            with _source(source or inception.PUBLIC_URL, wanted, folder, download) as path:
                _convert(path, target, wanted, source or inception.PUBLIC_URL)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror or error}); choose another with --to"
        ) from None
    return Fetched(target, new=True)


def _whole(target: Path, source_sha256: str) -> bool:
    """Whether an earlier fetch left `target` as its account says."""
    account = inception.account(target)
    expected = {"source_sha256": source_sha256, "sha256": files.sha256_file(target) if target.is_file() else None}
    return expected.items() <= account.items()


@contextmanager
def _source(
    source: str, sha256: str, folder: Path, download: Callable[[str, str], Download]
) -> Generator[Path, None, None]:
    """The verified .pth file: a file of the user's own, or one fetched and removed again."""
    if "://" not in source:
        path = Path(home(source))
        if not path.is_file():
            raise UserError(f"--from {source}: there is no such file (a URL begins with https://)")
        found = files.sha256_file(path)
        if found != sha256:
            raise UserError(f"--from {source}: it has sha256 {found[:16]}…, and {sha256[:16]}… is wanted")
        yield path
        return
    if not source.startswith(("https://", "http://")):
        raise UserError(f"--from {source}: only https://, http:// and files are fetched")
    path = folder / f"inception-{sha256[:8]}.pth"
    with _progress(path.name) as progress:
        download(source, sha256).to(path, progress)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _convert(path: Path, target: Path, source_sha256: str, source: str) -> None:
    state, _ = inception.read(path)
    folded = inception.folded(path, state)
    sha256 = inception.save(target, folded, source_sha256)
    # The way it came may hold a login or a signature; whoever reads the record needs neither.
    origin = bare(source) if "://" in source else source
    account = {"source": origin, "source_sha256": source_sha256, "sha256": sha256, "bytes": target.stat().st_size}
    files.write_json(target.with_suffix(".json"), account)


@contextmanager
def _progress(name: str) -> Generator[Progress, None, None]:
    """A bar on stderr where a person looks; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(file=terminal(sys.stderr))
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
