"""Checkpoints: a folder each, whole or not at all, and read back only when every hash agrees.

    checkpoints/000000012800/state.json, history.jsonl, <group>.safetensors…, manifest.json

They are scratch, kept outside DVC's outs, and are what a killed run goes on from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import ConfigDict
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import BrokenArtefact, Damaged
from pipeline.storage import files, forms
from pipeline.storage.damage import parse_json
from pipeline.storage.forms import Count, FileName, Form, Sha256
from pipeline.storage.tensors import read

FORMAT_VERSION = 1
MANIFEST, STATE, HISTORY = "manifest.json", "state.json", "history.jsonl"


class _ManifestForm(Form):
    format_version: Literal[1]
    files: dict[FileName, Sha256]


class _StateForm(Form):
    """What is read of state.json before all of it is."""

    model_config = ConfigDict(extra="ignore")

    began: Count
    examples_seen: Count


@dataclass(frozen=True)
class Checkpoint:
    """Everything the loop needs to go on: tensors by group, plain state, the history so far."""

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    history: list[dict[str, Any]]


class CheckpointStore:
    """The checkpoints of one run, in one folder, named by examples seen."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, examples_seen: int) -> Path:
        return self.folder / f"{examples_seen:012d}"

    def save(self, checkpoint: Checkpoint, name: str | None = None) -> Path:
        """Write under `name` (default: examples seen), then drop all but the newest `keep`."""
        path = self.folder / name if name else self.path(checkpoint.state["examples_seen"])
        with files.replacing_folder(path) as folder:
            for group, tensors in checkpoint.tensors.items():
                plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
                save_file(plain, folder / f"{group}.safetensors")
            (folder / STATE).write_bytes(files.canonical_json(checkpoint.state))
            lines = [json.dumps(record, sort_keys=True) for record in checkpoint.history]
            (folder / HISTORY).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
            hashes = {file.name: files.sha256_file(file) for file in sorted(folder.iterdir())}
            manifest = {"format_version": FORMAT_VERSION, "files": hashes}
            (folder / MANIFEST).write_bytes(files.canonical_json(manifest))
        if name is None:
            # A longer run of the same settings may have left later ones; they are not ours to drop.
            ours = [old for old in self.numbered() if int(old.name) <= int(path.name)]
            for old in ours[: -self.keep]:
                shutil.rmtree(old)
        return path

    def numbered(self) -> list[Path]:
        """The ordinary checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and path.name.isdigit())

    def names(self) -> list[str]:
        """The ordinary checkpoints, here or elsewhere, oldest first."""
        return [path.name for path in self.numbered()]

    def inherit(self, other: CheckpointStore, limit: int) -> Path | None:
        """Begin with another run's newest whole checkpoint of those that one of `limit` examples comes to.

        The other's folder is only read: its run may be writing there.
        """
        for name in reversed(other.names()):
            path = other.folder / name
            other.ready(path)
            if path.is_dir() and _problem(path) is None and _began(path) < limit:
                return self.save(load(path))
        return None

    def latest(self, note: Callable[[str], None], limit: int | None = None) -> Path | None:
        """The newest whole checkpoint; torn ones are said and removed.

        limit: examples of the whole run; checkpoints it would not have come to are passed over.
        """
        files.sweep_temporaries(self.folder)
        for path in reversed(self.numbered()):
            problem = _problem(path)
            if problem:
                note(f"checkpoint {path.name} is broken ({problem}); going back to the one before")
                shutil.rmtree(path)
            elif limit is None or _began(path) < limit:
                return path
        return None

    def ready(self, path: Path) -> None:
        """Have a checkpoint that rank 0 chose on this machine too: here all ranks see one folder."""

    def usable(self, name: str, limit: int) -> bool:
        """Whether the checkpoint is whole and one that a run of `limit` examples comes to, or is not there."""
        path = self.folder / name
        return not path.is_dir() or (_problem(path) is None and _began(path) < limit)

    def clear(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)


def load(path: Path) -> Checkpoint:
    """Read one back.

    Raises:
        BrokenArtefact: if any file is missing or differs from the manifest.
    """
    problem = _problem(path)
    if problem:
        raise BrokenArtefact(f"checkpoint {path}: {problem}")
    # Only what the manifest names: another file in the folder has no hash.
    tensors = {Path(name).stem: read(path / name) for name in _named(path) if name.endswith(".safetensors")}
    try:
        history = [parse_json(line) for line in (path / HISTORY).read_bytes().splitlines()]
    except (OSError, Damaged) as error:
        raise BrokenArtefact(f"checkpoint {path}: {error}") from None
    return Checkpoint(tensors, files.read_json(path / STATE, "training"), history)


def _named(path: Path) -> list[str]:
    """The files of a checkpoint, by its manifest."""
    found = forms.check(_ManifestForm, files.read_json(path / MANIFEST, "training"), path / MANIFEST, "training")
    return sorted(found.files)


def _began(path: Path) -> int:
    """Examples seen before the checkpoint's last step: it may read several batches, and end beyond the run's length."""
    return _state(path).began


def _state(path: Path) -> _StateForm:
    return forms.check(_StateForm, files.read_json(path / STATE, "training"), path / STATE, "training")


def _problem(path: Path) -> str | None:
    try:
        manifest = files.read_json(path / MANIFEST, "training")
        found = cast(dict[str, Any], manifest) if isinstance(manifest, dict) else {}
        if found.get("format_version") != FORMAT_VERSION or "files" not in found:
            return f"it is of format {forms.printable(str(found.get('format_version')))}, not {FORMAT_VERSION}"
        hashes = forms.check(_ManifestForm, found, path / MANIFEST, "training").files
        if not {STATE, HISTORY} <= set(hashes):
            return f"its {MANIFEST} lacks {STATE} or {HISTORY}"
        for name, sha256 in hashes.items():
            files.verify(path / name, sha256, "training")
        _state(path)
    except BrokenArtefact as error:
        return str(error)
    return None
