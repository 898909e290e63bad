"""What every stage does: settings first, signals heard, code unchanged while it ran, honest exit codes.

Exit codes: 0 done; 1 the work failed; 2 a mistake in settings or data; 3 the code changed while
the stage ran; 130 and 143 interrupted; 137 killed. DVC records a stage only at 0.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import yaml

from pipeline import params as whole
from pipeline.formats.files import disk_is_full, sha256_bytes, sha256_file, sha256_json
from pipeline.params import Params
from pipeline.settings import UserError
from pipeline.training.health import TrainingFailed
from stages import _supervisor

FAILED, WRONG, DRIFTED = 1, 2, 3
heard: list[int] = []  # signals


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
        return (self.root / params.run.storage).resolve()

    def scratch(self, params: Params, computed: Any) -> Path:
        """`.work/<stage>-<fingerprint>`: equal settings, data and code come back to the same place."""
        fingerprint = sha256_json({"computed": computed, "code": self.code_sha256})[:12]
        return self.work(params) / f"{self.stage}-{fingerprint}"


def run(stage: str, work: Callable[[Params, Project], None]) -> NoReturn:
    """Run one stage and leave with its exit code. A user's mistake is a sentence, no traceback."""
    _supervisor.supervise(stage)
    signal.signal(signal.SIGTERM, _terminated)
    root = Path.cwd()
    try:
        params = whole.load(root / "params.yaml")
        code, settings = code_sha256(root, stage), own_settings(params.raw, root, stage)
        work(params, Project(root, stage, code))
        for what, before, after in (
            ("source files", code, code_sha256(root, stage)),
            ("its settings", settings, own_settings(whole.read(root / "params.yaml"), root, stage)),
        ):
            if before != after:
                print(f"{stage}: {what} changed while it ran, and DVC would record the new ones; run it again")
                _leave(DRIFTED)
    except UserError as error:
        print(f"\n{stage}: {error}", file=sys.stderr)
        _leave(WRONG)
    except TrainingFailed as error:
        print(f"\n{stage}: {error}", file=sys.stderr)
        _leave(FAILED)
    except OSError as error:
        if not disk_is_full(error):
            raise
        print(f"\n{stage}: the disk is full: {error}; free some space and run it again", file=sys.stderr)
        _leave(FAILED)
    except KeyboardInterrupt:
        print(f"\n{stage}: interrupted; run it again to go on", file=sys.stderr)
        _leave(130)
    except SystemExit:
        # SIGTERM (Ray may have lost the code on the way); where a library leaves in the midst, that is no success.
        _leave(128 + heard[0] if heard else FAILED)
    _leave(0)


def code_sha256(root: Path, stage: str) -> str:
    """One hash over the source files this stage depends on, as dvc.yaml names them."""
    deps = [str(dep) for dep in _described(root, stage).get("deps", [])]
    named = [dep for dep in deps if not dep.startswith("artifacts/")]
    found: list[Path] = []
    for dep in named:
        path = root / dep
        found += sorted(path.rglob("*")) if path.is_dir() else [path]
    kept = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    lines = [f"{path.relative_to(root)} {sha256_file(path)}" for path in kept]
    return sha256_bytes("\n".join(lines).encode())


def own_settings(raw: Mapping[str, Any], root: Path, stage: str) -> dict[str, Any]:
    """The settings this stage depends on, as dvc.yaml names them, by dotted name."""
    return {str(name): whole.at(raw, str(name)) for name in _described(root, stage).get("params", [])}


def _described(root: Path, stage: str) -> dict[str, Any]:
    try:
        return yaml.safe_load((root / "dvc.yaml").read_text())["stages"][stage]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"dvc.yaml: the stage {stage} cannot be read there ({error}); run in the project's folder"
        ) from None


def _terminated(number: int, frame: FrameType | None) -> None:
    heard.append(number)
    raise SystemExit(128 + number)


def hear_signals() -> None:
    """Take SIGTERM back: `ray.init` installs a handler that aborts the process without cleaning up."""
    signal.signal(signal.SIGTERM, _terminated)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    # A library's threads must not turn the code around on the way out.
    os._exit(code)
