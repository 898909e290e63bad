"""Where a model came from, as flat strings: commit, locked DAG, data and settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pipeline.errors import BrokenArtefact, SettingsError, UserError
from pipeline.registry.addresses import resolve
from pipeline.storage import files, yaml_text

NONE = "none"
# `code` reads every source file, and what it finds of each stage is a dependency of that stage.
APART = frozenset({"code", "register"})
TIMES_AND_RATES = "artifacts/curves"
NOT_SOURCES = ("inputs",)
_HASHES_ONLY = frozenset({"path", "size", "nfiles", "isexec", "hash"})


def gather(root: Path, manifest: Path | None = None, settings: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The lineage of what the project in `root` has just made; `none` where something is unknown.

    git_commit, git_dirty: the commit, and `yes` where anything differs from it but dvc.lock, outs, the links under
        inputs/ that stages set, and the registry itself.
    dvc_lock_sha256: the canonical entries of every stage that makes the model or its report.
    manifest_sha256, settings_sha256: of the data's manifest file and of the settings given.
    """
    lock = read_lock(root)
    commit = git_commit(root)
    changed = changes(root, [*outs(lock), *NOT_SOURCES, *_registry(root)]) if commit != NONE else None
    return {
        "git_commit": commit,
        "git_dirty": NONE if changed is None else "yes" if changed else "no",
        "dvc_lock_sha256": files.sha256_json(upstream(lock)) if lock else NONE,
        "manifest_sha256": files.sha256_file(manifest) if manifest is not None and manifest.is_file() else NONE,
        "settings_sha256": files.sha256_json(dict(settings)) if settings is not None else NONE,
    }


def _registry(root: Path) -> list[str]:
    """What an embedded registry writes into the project, wherever MLFLOW_TRACKING_URI puts it there."""
    try:
        database = resolve(root).database
    except UserError:  # said by who opens it
        return []
    if database is None or not database.is_relative_to(root.resolve()):
        return []
    name = database.relative_to(root.resolve())
    files_beside = [name.with_name(name.name + ending) for ending in ("", "-lock", "-wal", "-shm", "-registered")]
    return [each.as_posix() for each in (*files_beside, name.with_name("mlartifacts"))]


def key(lineage: Mapping[str, str]) -> str:
    """One hash for what the bytes depend on: all but git's two entries, which a README moves too."""
    return files.sha256_json({name: value for name, value in lineage.items() if not name.startswith("git_")})


# --- dvc.lock ---------------------------------------------------------------------------------


def read_lock(root: Path) -> dict[str, Any]:
    """The stages of dvc.lock by name; empty where there is no such file.

    Raises:
        BrokenArtefact: if it is no YAML mapping.
    """
    path = root / "dvc.lock"
    try:
        found: object = yaml_text.read(path)
    except FileNotFoundError:
        return {}
    except SettingsError as error:
        raise BrokenArtefact(f"{error}; `git checkout dvc.lock`, then `dvc repro`") from None
    stages = cast(dict[str, Any], found).get("stages") if isinstance(found, dict) else None
    return cast(dict[str, Any], stages) if isinstance(stages, dict) else {}


def upstream(lock: Mapping[str, Any]) -> dict[str, Any]:
    """Commands, dependencies, parameters and outs of the stages that make the model and its report, by their hashes.

    What holds times or rates is left out: it differs between equal runs.
    """
    kept = {name: entry for name, entry in lock.items() if name.partition("@")[0] not in APART}
    return {
        name: {
            "cmd": entry.get("cmd"),
            "deps": _hashed(entry.get("deps")),
            "outs": _hashed(entry.get("outs")),
            "params": entry.get("params", {}),
        }
        for name, entry in kept.items()
    }


def outs(lock: Mapping[str, Any]) -> list[str]:
    """Every out of every stage, relative to the project."""
    return sorted({out["path"] for entry in lock.values() for out in entry.get("outs") or []})


def _hashed(entries: list[dict[str, Any]] | None) -> dict[str, dict[str, Any]]:
    return {
        entry["path"]: {name: value for name, value in entry.items() if name not in _HASHES_ONLY}
        for entry in entries or []
        if not _within(entry["path"], TIMES_AND_RATES)
    }


# --- git --------------------------------------------------------------------------------------


def git_commit(root: Path) -> str:
    """The commit checked out in `root`, or `none` outside git and before the first commit."""
    found = _git(root, "rev-parse", "--verify", "HEAD")
    return found.strip() if found else NONE


def changes(root: Path, ignored: list[str]) -> list[str] | None:
    """Files under `root` that differ from the commit, new ones included; not dvc.lock, not `ignored`.

    None where git cannot say.
    """
    prefix = (_git(root, "rev-parse", "--show-prefix") or "").strip()
    listed = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".")
    if listed is None:
        return None
    paths = [entry[3:].removeprefix(prefix) for entry in listed.split("\0") if entry]
    return sorted(path for path in paths if not any(_within(path, out) for out in ["dvc.lock", *ignored]))


def _git(root: Path, *arguments: str) -> str | None:
    # Inside a git hook GIT_DIR and GIT_INDEX_FILE name the hook's own repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
