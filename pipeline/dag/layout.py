"""A stage in its project: where things are, and what dvc.yaml says it depends on and makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import SettingsError, UserError
from pipeline.params import Params
from pipeline.settings import at
from pipeline.storage import yaml_text
from pipeline.storage.files import sha256_json
from pipeline.storage.filesystems import is_remote

INPUTS = "ZEROSUM_INPUTS"  # of a job: the bundle of its stage's inputs
FAILED, WRONG, DRIFTED = 1, 2, 3  # exit codes


@dataclass(frozen=True)
class Project:
    """Where things are: `root` is the folder of params.yaml, the stage's working directory."""

    root: Path
    stage: str
    code_sha256: str

    def artefact(self, name: str) -> Path:
        """`artifacts/<name>`, absolute."""
        return self.root / "artifacts" / name

    def work(self, params: Params) -> Path:
        """The scratch folder, outside DVC's outs."""
        storage = ".work" if is_remote(params.run.storage) else params.run.storage
        return (self.root / storage).resolve()

    def scratch(self, params: Params, computed: Any) -> Path:
        """`.work/<stage>-<fingerprint>`: equal settings, data and code come back to the same place."""
        fingerprint = sha256_json({"computed": computed, "code": self.code_sha256})[:12]
        return self.work(params) / f"{self.stage}-{fingerprint}"


def own_settings(raw: Mapping[str, Any], root: Path, stage: str) -> dict[str, Any]:
    """The settings this stage depends on, as dvc.yaml names them, by dotted name."""
    return {str(name): at(raw, str(name)) for name in described(root, stage).get("params", [])}


def names(root: Path) -> list[str]:
    """The stages of dvc.yaml, in its order.

    Raises:
        UserError: if it cannot be read there.
    """
    return list(_stages(root))


def described(root: Path, stage: str) -> dict[str, Any]:
    """The stage as dvc.yaml has it: its deps, params and outs.

    Raises:
        UserError: if it cannot be read there.
    """
    try:
        return _stages(root)[stage]
    except KeyError:
        raise UserError(f"dvc.yaml has no stage {stage}") from None


def _stages(root: Path) -> dict[str, Any]:
    try:
        return dict(yaml_text.read(root / "dvc.yaml")["stages"])
    except (OSError, SettingsError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"dvc.yaml: its stages cannot be read ({error}); run in the project's folder") from None
