"""Part of `zerosum doctor`: what other users of this machine could read or change. Nothing, on a usual one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UserError
from pipeline.storage import files, private

SECRET = re.compile(r"(?im)^\s*\w*(passw|secret|token|key|credential|connection_string|sas)\w*\s*=\s*\S")
KEPT_SECRETS = (Path(".dvc/config.local"), Path("infra/mlflow/.env"), Path("cluster.yaml"))
REGISTRY = ("mlflow.db", "mlartifacts", "mlruns")


def exposed(root: Path) -> Iterator[tuple[str, str]]:
    """What is open to others: its name, and what would close it."""
    if not private.umask() & private.OTHERS:
        yield (
            "umask",
            f"{private.umask():03o} lets everybody write to the files you make; put `umask 022` into ~/.profile",
        )
    if found := private.intruded(root):
        yield "project", f"{found[0]} {found[1]}, who can change the code that runs: `chmod go-w {found[0]}`"
    for name in REGISTRY:
        if who := private.others(root / name):
            yield "registry", f"{root / name} {who}: `chmod -R go-w {root / name}`"
    try:
        files.cache_folder()
    except UserError as error:
        yield "cache", str(error)
    yield from _secrets(root)
    yield from _dvc(root)


def _secrets(root: Path) -> Iterator[tuple[str, str]]:
    from pipeline.cluster.connect.tokens import token_file

    for path in (token_file(), *(root / name for name in KEPT_SECRETS)):
        if private.read_by_others(path) and (path.name == token_file().name or _has_secret(path)):
            yield "secret", f"{path} can be read by others: `chmod 600 {path}`"


def _has_secret(path: Path) -> bool:
    try:
        return SECRET.search(path.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False


def _dvc(root: Path) -> Iterator[tuple[str, str]]:
    """DVC keeps pickles in a folder of the machine's, which it opens to everybody."""
    place = _site_cache(root)
    if place is None:
        return
    private.make_sticky()
    if found := private.intruded(place):
        own = private.own_site_cache()
        yield (
            "dvc",
            f"{found[0]} {found[1]}, and DVC runs what is in its cache there: `mkdir -p -m 700 {own}/repo && "
            f"chmod 700 {own} && export {private.SITE_CACHE}={own}`",
        )


def environment() -> dict[str, str]:
    """The environment for a command of DVC: its cache is a folder of this user's, where one was made."""
    own = private.own_site_cache()
    usable = private.SITE_CACHE not in os.environ and own.is_dir() and not private.others(own)
    return {**os.environ, **({private.SITE_CACHE: str(own)} if usable else {})}


def _site_cache(root: Path) -> Path | None:
    """The folder that DVC reads pickles from for the project in `root`, as this environment has it; None if unknown."""
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ImportError:
        return None
    try:
        with Repo(str(root)) as repo:
            return Path(repo.site_cache_dir)
    except (DvcException, OSError):
        return None
