"""The code a stage depends on: the modules that it and its chosen plug-ins import, by what they do.

    artifacts/code/<stage>.json      {"pipeline.data.batches": "<digest>", …}, what DVC compares

The stage `code` writes these files, and the other stages depend on them. So a comment, a docstring, a new file or
another family's code runs `code` again, which takes seconds, and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline import fingerprint, own_plugins
from pipeline.errors import Damaged, UserError
from pipeline.params import Params
from pipeline.params.chosen import plugins_of
from pipeline.storage import damage, files

FOLDER = "code"
# Whom the registry's copy of the code is made of (registry/packaging.py), beside what the stage imports itself.
SERVED = ("pipeline.sampling.labels", "pipeline.sampling.samples", "pipeline.registry.served_model")
UNDER_DVC = "DVC_STAGE"  # in the environment of what DVC runs


def modules(params: Params, root: Path, stage: str) -> dict[str, str]:
    """The digest of every module that decides what a stage of the project `root` does.

    Raises:
        UserError: if a source file is not Python.
    """
    packages = {"pipeline": own_plugins.folders(), "stages": [Path(__file__).parents[2] / "stages"]}
    for top, folders in packages.items():
        if (root / top).is_dir():  # of a checkout, or a job's copy
            folders[0] = root / top
    entries = [f"stages.{stage}", *plugins_of(params, stage), *(SERVED if stage == "register" else ())]
    try:
        return fingerprint.digests(fingerprint.closure(entries, packages))
    except SyntaxError as error:
        raise UserError(f"{error.filename}, line {error.lineno}: {error.msg}") from None


def sha256(params: Params, root: Path, stage: str) -> str:
    """One hash over `modules`."""
    return files.sha256_json(modules(params, root, stage))


def recorded(root: Path, stage: str) -> dict[str, str] | None:
    """What `artifacts/code` holds of a stage; None where there is nothing to read."""
    try:
        found = damage.parse_json((root / "artifacts" / FOLDER / f"{stage}.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Damaged):
        return None
    return found if isinstance(found, dict) else None


def check_recorded(params: Params, root: Path, stage: str) -> None:
    """Refuse to work for DVC where the code is not what DVC will record: it was edited since the stage `code` ran.

    Raises:
        UserError: with the command that helps.
    """
    if UNDER_DVC in os.environ and recorded(root, stage) != modules(params, root, stage):
        raise UserError(
            f"artifacts/{FOLDER}/{stage}.json is not of the code as it is now, so DVC would record the wrong one; "
            "run `dvc repro`, or `dvc repro -s code` before a stage of its own"
        )


def changed(before: dict[str, str] | None, after: dict[str, str]) -> list[str]:
    """The modules that differ, came or went; none where nothing was recorded before."""
    if before is None:
        return []
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
