"""A copy of this checkout with tiny settings, and its stages and DAG as a user runs them."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.settings import override

ROOT = Path(__file__).parents[2]

# All six stages in well under a minute: what is tested is the machinery, not the digits.
TINY: dict[str, Any] = {
    "ingest.resolution": 8,
    "reference.extractor": {"name": "classifier", "width": 4, "dimension": 8, "examples": 1280},
    "families.dcgan": {"preset": "digits", "generator_width": 4, "discriminator_width": 4, "latent": 8},
    "tune.trials": 2,
    "tune.batch": 2,
    "tune.examples": 640,
    "tune.space": {
        "families.dcgan.generator.lr": {"loguniform": [5e-4, 2e-3]},
        "families.dcgan.discriminator.lr": {"loguniform": [5e-4, 2e-3]},
    },
    "tune.first_rung": 320,
    "train.examples": 1280,
    "train.tick": 320,
    "train.checkpoint": 320,
    "train.grid": 640,
    "train.score": {"every": 640, "samples": 64, "seed": 0},
    "run.score_beside": "never",
    "evaluate.repeats": 1,
    "evaluate.samples": 256,
}


def copy(target: Path, overrides: Mapping[str, Any] | None = None) -> Path:
    """The files git tracks, or would, copied to `target`, a repository of their own, with tiny settings."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = ROOT / name
        if source.is_file() and not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    (target / "dvc.lock").unlink(missing_ok=True)
    configure(target, {**TINY, **(overrides or {})})
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=target, check=True)
    return target


def configure(project: Path, overrides: Mapping[str, Any]) -> None:
    """Lay dotted settings on the project's params.yaml."""
    path = project / "params.yaml"
    path.write_text(yaml.safe_dump(override(yaml.safe_load(path.read_text()), overrides), sort_keys=False))


def environment(project: Path) -> dict[str, str]:
    """Where `python` is this one, `pipeline` the copy's, and the registry its own; Python writes bytecode, as it does
    for users."""
    foreign = ("MLFLOW_", "RAY_", "DVC_", "PYTHONDONTWRITEBYTECODE", "ZEROSUM_PLUGINS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(project), "DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "1"}


def run(
    project: Path, *command: str, timeout: float = 280, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command in the project; its output is kept together. Past the timeout, all that it started is killed."""
    with subprocess.Popen(
        command,
        cwd=project,
        env=environment(project) if env is None else env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            raise
        return subprocess.CompletedProcess(command, process.returncode, output)


def hashes(project: Path, *folders: str) -> dict[str, str]:
    """sha256 of every file under the given artefacts."""
    found: dict[str, str] = {}
    for folder in folders:
        path = project / "artifacts" / folder
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found[str(file.relative_to(project))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def table(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """A CSV file's rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))
