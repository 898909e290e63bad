"""`zerosum weights …`: pretrained networks, fetched once, verified, as safetensors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pipeline import assets, plugins
from pipeline.contract.asset import Asset
from pipeline.errors import UserError
from pipeline.redaction import bare
from pipeline.settings import home, suggest
from pipeline.storage import files
from pipeline.storage.download import Download, Progress
from pipeline.streams import terminal


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

    The public file is read without running code, its names and shapes are checked, and what the network needs of it is
    written as safetensors, with a small JSON file beside it that says where it came from and under which licence.
    `sha256` is that of the public file; another one makes other weights, under another name.

    Raises:
        UserError: for an unknown name, a wrong sha256, a server that is gone, or a file that is no such state dict.
    """
    known = plugins.names("assets")
    if name not in known:
        raise UserError(f"there are no weights called '{name}'{suggest(name, known)}")
    asset: Asset = plugins.load("assets", {"name": name})
    wanted = (sha256 or asset.sha256).lower()
    if set(wanted) - set("0123456789abcdef") or (sha256 and len(wanted) != 64):
        raise UserError(f"--sha256 {sha256}: must be 64 hexadecimal digits")
    folder = folder or files.cache_folder()
    target = folder / (asset.cached if wanted == asset.sha256 else f"{name}-of-{wanted[:8]}.safetensors")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{target.name}.lock"):
            if _whole(target, wanted):
                return Fetched(target, new=False)
            with _source(source or asset.url, wanted, folder / f"{name}-{wanted[:8]}.pth", download) as path:
                _convert(asset, path, target, source or asset.url)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror or error}); choose another with --to"
        ) from None
    return Fetched(target, new=True)


def _whole(target: Path, source_sha256: str) -> bool:
    """Whether an earlier fetch left `target` as its account says."""
    account = assets.account(target)
    same = str(account.get("source_sha256", "")).startswith(source_sha256)
    return same and target.is_file() and account.get("sha256") == files.sha256_file(target)


@contextmanager
def _source(
    source: str, sha256: str, path: Path, download: Callable[[str, str], Download]
) -> Generator[Path, None, None]:
    """The verified .pth file: a file of the user's own, or one fetched and removed again."""
    if "://" not in source:
        own = Path(home(source))
        if not own.is_file():
            raise UserError(f"--from {source}: there is no such file (a URL begins with https://)")
        found = files.sha256_file(own)
        if not found.startswith(sha256):
            raise UserError(f"--from {source}: it has sha256 {found[:16]}…, and {sha256[:16]}… is wanted")
        yield own
        return
    if not source.startswith(("https://", "http://")):
        raise UserError(f"--from {source}: only https://, http:// and files are fetched")
    with _progress(path.name) as progress:
        download(source, sha256).to(path, progress)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _convert(asset: Asset, path: Path, target: Path, source: str) -> None:
    came = files.sha256_file(path)
    sha256 = assets.save(target, asset.converted(path), came)
    # The way it came may hold a login or a signature; whoever reads the record needs neither.
    origin = bare(source) if "://" in source else source
    account = {"source": origin, "source_sha256": came, "sha256": sha256, "bytes": target.stat().st_size}
    files.write_json(target.with_suffix(".json"), {**account, "licence": asset.licence, "page": asset.page})


def listed() -> list[tuple[str, str, str, str]]:
    """Name, whether it is here, licence and page of each set of weights."""
    found: list[tuple[str, str, str, str]] = []
    for name in plugins.names("assets"):
        asset: Asset = plugins.load("assets", {"name": name})
        here = "fetched" if assets.place(name).is_file() else "not fetched"
        found.append((name, here, asset.licence, asset.page))
    return found


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
