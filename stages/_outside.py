"""What a stage's settings name outside the project: a file travels with its job, and a source keeps its stage here."""

from __future__ import annotations

from pathlib import Path

from pipeline import plugins
from pipeline.data.preview import open_source
from pipeline.formats.store import Store
from pipeline.params import Params

ACCOUNT = ".json"


def sent(store: Store, params: Params, stage: str) -> dict[str, str]:
    """By dotted setting, the bundles of its files that are on this machine; others the cluster may have itself."""
    here = {setting: path for setting, path in _named(params, stage).items() if path.is_file()}
    return {setting: store.push(path.parent, _with_account(path)) for setting, path in here.items()}


def received(store: Store, bundles: dict[str, str], folder: Path) -> dict[str, str]:
    """The settings as they are where the job runs: each file under `folder`, by the name that it had."""
    found = {setting: store.pull(key, folder / setting) for setting, key in bundles.items()}
    return {setting: str(max(paths, key=_is_no_account)) for setting, paths in found.items()}


def source_is_here(params: Params) -> bool:
    """Whether what `ingest` reads is files of this machine."""
    source = open_source(params.ingest)
    named = (getattr(source.config, field) for field in source.paths)
    return any(Path(path).exists() for path in named if path)


def _with_account(path: Path) -> list[str]:
    """A file's name, and that of what is told of it beside it: where it is from, and which sha256 it had."""
    account = path.with_suffix(ACCOUNT)
    return [path.name, *([account.name] if account.is_file() else [])]


def _is_no_account(path: Path) -> bool:
    return path.suffix != ACCOUNT


def _named(params: Params, stage: str) -> dict[str, Path]:
    if stage != "reference":
        return {}
    settings = params.reference
    found = {"reference.statistics": Path(settings.statistics)} if settings.statistics else {}
    files = getattr(plugins.module("extractors", str(settings.extractor["name"])), "files", None)
    if files is not None:
        config = plugins.configure("extractors", settings.extractor, "reference.extractor")
        found |= {f"reference.extractor.{key}": path for key, path in files(config).items()}
    return found
