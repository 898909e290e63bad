"""What a stage's settings name outside the project: where only this machine has it, it travels with the job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from pipeline import watched
from pipeline.data import parcels
from pipeline.data.opening import open_source
from pipeline.data.source import DataSource
from pipeline.params import Params
from pipeline.preflight.items import before_ingest
from pipeline.settings import home
from pipeline.storage.filesystems import is_remote
from pipeline.storage.store import Store

ACCOUNT = ".json"
SOURCE = "ZEROSUM_SOURCE"  # of a job: the folder with its source, if that came along


def sent(store: Store, params: Params, stage: str) -> dict[str, str]:
    """By dotted setting, the bundles of its files that are on this machine; others the cluster may have itself."""
    if stage == "ingest":  # its items travel, and not its files
        return {}
    here = {setting: path for setting, path in watched.named(params, stage).items() if path.is_file()}
    return {setting: store.push(path.parent, _with_account(path)) for setting, path in here.items()}


def received(store: Store, bundles: dict[str, str], folder: Path) -> dict[str, str]:
    """The settings as they are where the job runs: each file under `folder`, by the name that it had."""
    found = {setting: store.pull(key, folder / setting) for setting, key in bundles.items()}
    return {setting: str(max(paths, key=_is_no_account)) for setting, paths in found.items()}


def sent_source(store: Store, params: Params, stage: str) -> str:
    """What `ingest` reads, as `parcels.receive` asks for it: where its files are on this machine alone.

    Raises:
        UserError: before anything is sent, if settings and data do not fit each other.
    """
    if stage != "ingest" or not source_is_here_alone(params):
        return ""
    before_ingest(params)
    print(f"sending the items of {params.ingest.source['name']} ", end="", flush=True)

    def progress(sent: int, of: int) -> None:
        print("." if sent < of else f". {of:,}", end="", flush=True)

    try:
        return parcels.send(open_source(params.ingest), params.ingest, store, progress)
    finally:
        print(flush=True)


def source(params: Params) -> DataSource[Any]:
    """What `ingest` reads: as its settings say, or as it came along with this job."""
    opened, folder = open_source(params.ingest), os.environ.get(SOURCE)
    return parcels.Parcelled(opened, folder) if folder else opened


def written_out(params: Params) -> dict[str, Any]:
    """The source's settings that begin with `~`, with this machine's home folder: another machine's is another."""
    given, config = params.ingest.source, open_source(params.ingest).given
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key != "name" and isinstance(value, str) and value.startswith("~"):
            found[f"ingest.source.{key}"] = str(getattr(config, key))
        elif isinstance(value, list):
            texts = [home(each) if isinstance(each, str) else each for each in cast(list[Any], value)]
            found.update({f"ingest.source.{key}": texts} if texts != value else {})
    return found


def source_is_here(params: Params) -> bool:
    """Whether what `ingest` reads is files of this machine."""
    return bool(_files_of_source(params))


def source_is_here_alone(params: Params) -> bool:
    """Whether no job sees them: no folder is shared, or a path is of this project, and a job's project is another."""
    found = _files_of_source(params)
    return bool(found) and (is_remote(params.run.storage) or any(not path.is_absolute() for path in found))


def _files_of_source(params: Params) -> list[Path]:
    return [path for path in watched.named(params, "ingest").values() if path.exists()]


def _with_account(path: Path) -> list[str]:
    """A file's name, and that of what is told of it beside it: where it is from, and which sha256 it had."""
    account = path.with_suffix(ACCOUNT)
    return [path.name, *([account.name] if account.is_file() else [])]


def _is_no_account(path: Path) -> bool:
    return path.suffix != ACCOUNT
