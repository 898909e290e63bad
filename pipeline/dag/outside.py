"""What a stage's settings name outside the project: where only this machine has it, it travels with the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pipeline import watched
from pipeline.data.opening import open_source
from pipeline.params import Params
from pipeline.settings import home
from pipeline.storage.filesystems import is_remote
from pipeline.storage.store import Store

ACCOUNT = ".json"


def sent(store: Store, params: Params, stage: str) -> dict[str, str]:
    """By dotted setting, the bundles of its files that are on this machine; others the cluster may have itself."""
    if stage == "ingest":  # the cluster sees its files, or the stage is no job (`source_is_here_alone`)
        return {}
    here = {setting: path for setting, path in watched.named(params, stage).items() if path.is_file()}
    return {setting: store.push(path.parent, _with_account(path)) for setting, path in here.items()}


def received(store: Store, bundles: dict[str, str], folder: Path) -> dict[str, str]:
    """The settings as they are where the job runs: each file under `folder`, by the name that it had."""
    found = {setting: store.pull(key, folder / setting) for setting, key in bundles.items()}
    return {setting: str(max(paths, key=_is_no_account)) for setting, paths in found.items()}


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
    """Whether no job sees them: no folder is shared, or a path is of this project, and a job's project is another.

    Then `ingest` is no job: it is done on this machine.
    """
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
