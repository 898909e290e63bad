"""The commands of docs/experiments.md, one after the other, and what the page says of them."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import checkout
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PAGE = checkout.ROOT / "docs" / "experiments.md"
SECTIONS = [
    "An experiment in a copy",
    "A queue",
    "Take one over",
    "Push, clone and pull",
    "A moved project",
    "Another registry",
]


def commands() -> dict[str, list[str]]:
    """Each heading's commands."""
    found: dict[str, list[str]] = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        blocks = re.findall(r"```console\n(.*?)```", part, re.DOTALL)
        found[part.partition("\n")[0]] = [line[2:] for block in blocks for line in block.splitlines()]
    return found


@dataclass
class Shell:
    """A person's shell: each section's commands in the folder and with the exports that the one before left."""

    folder: Path
    environment: dict[str, str]

    def run(self, commands: list[str]) -> str:
        state = self.folder.parent / "state"
        script = "\n".join(["set -e", *commands, f"pwd > '{state}'", f"env -0 > '{state}.env'"])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        self.folder = Path(state.read_text().strip())
        pairs = (entry.partition("=") for entry in Path(f"{state}.env").read_text().split("\0") if entry)
        self.environment = {name: value for name, _, value in pairs}
        return done.stdout


def versions(database: Path) -> list[int]:
    with closing(sqlite3.connect(database)) as store:
        return sorted(version for (version,) in store.execute("select version from model_versions"))


@pytest.mark.long
def test_the_page_does_what_it_says(whole: tuple[Path, str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(whole[0], project, symlinks=True)
    page = commands()
    assert list(page) == SECTIONS
    shell = Shell(project, {**checkout.environment(project), "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")})
    (tmp_path / "gitconfig").write_text("[user]\n  name = t\n  email = t@t\n")
    shell.run(["git add -A", "git commit -qm start"])

    shell.run(page["An experiment in a copy"])
    assert versions(project / "mlflow.db") == [1, 2]
    shell.run(page["A queue"])
    assert versions(project / "mlflow.db") == [1, 2, 3]
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        named = "select value from tags where key = 'zerosum.dvc_experiment' order by value"
        assert store.execute(named).fetchall() == [("second",), ("third",)]
    assert not (project / ".dvc/tmp/exps").exists() or not list((project / ".dvc/tmp/exps").rglob("mlflow.db"))

    shell.run(page["Take one over"])
    assert versions(project / "mlflow.db") == [1, 2, 3]
    assert "up to date" in shell.run(["dvc status"])
    receipt = json.loads((project / "artifacts/curves/registration/registration.json").read_text())
    assert receipt["version"] == 3

    said = shell.run(page["Push, clone and pull"])
    assert shell.folder == tmp_path / "clone"
    assert re.findall(r"Running stage '(\w+)'", said) == ["register"]
    assert versions(tmp_path / "clone/mlflow.db") == [1]
    assert "up to date" in shell.run(["dvc status"])

    second = Shell(tmp_path / "clone", shell.environment)
    said = second.run(["git clone -q . ../second", "cd ../second", "dvc repro --pull", "zerosum models"])
    assert re.findall(r"Running stage '(\w+)'", said) == ["register"]
    assert versions(tmp_path / "second/mlflow.db") == [1]
    # Only the file is lost: whoever misses the model has DVC see it.
    said = second.run(["rm mlflow.db", "! zerosum models", "dvc repro", "dvc status"])
    assert re.findall(r"Running stage '(\w+)'", said) == ["register"]
    assert versions(tmp_path / "second/mlflow.db") == [1]

    # Lost with what lies beside it: DVC sees it by itself.
    said = second.run(["rm -r mlflow.db* mlartifacts", "dvc repro", "dvc status"])
    assert re.findall(r"Running stage '(\w+)'", said) == ["register"]
    assert versions(tmp_path / "second/mlflow.db") == [1]

    said = shell.run(page["A moved project"])
    assert (tmp_path / "elsewhere/samples/00003.png").is_file()
    assert "Running stage" not in said
    assert not (tmp_path / "clone").exists()

    said = shell.run(page["Another registry"])
    assert versions(tmp_path / "elsewhere/other.db") == [1]
    again = shell.run(["zerosum register"])
    assert "nothing had to be done" in again
    assert versions(tmp_path / "elsewhere/other.db") == [1]
    said = shell.run(["export MLFLOW_TRACKING_URI=sqlite:///third.db", "! zerosum models", "dvc repro", "dvc status"])
    assert re.findall(r"Running stage '(\w+)'", said) == ["register"]
    assert versions(tmp_path / "elsewhere/third.db") == [1]
    # Back in the project's own, which is not what DVC has seen last.
    said = shell.run(["unset MLFLOW_TRACKING_URI", "rm -r mlflow.db* mlartifacts", "! zerosum models", "dvc repro"])
    assert re.findall(r"Running stage '(\w+)'", said) == ["register"]
    assert versions(tmp_path / "elsewhere/mlflow.db") == [1]
