"""A project of one's own beside the installed wheel: `zerosum new`, plug-ins in its folder, the DAG, the registry."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import checkout
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = (checkout.ROOT / "docs/adding.md").read_text()
SHOWN = {"families/tiny.py": "tiny", "metrics/mean_shift.py": "mean_shift"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    source = checkout.copy(folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    done = checkout.run(folder, *pip, "--target", str(folder / "site"), str(source), timeout=120)
    assert done.returncode == 0, done.stdout
    return folder / "site"


@pytest.fixture(scope="module")
def environment(installed: Path) -> dict[str, str]:
    found = checkout.environment(installed)
    return {**found, "PATH": f"{installed / 'bin'}{os.pathsep}{found['PATH']}"}


@pytest.fixture(scope="module")
def project(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After `make repro` with a family and a metric of its own."""
    folder = tmp_path_factory.mktemp("projects")
    done = checkout.run(folder, "zerosum", "new", "mine", env=environment)
    assert done.returncode == 0, done.stdout
    made = folder / "mine"
    for path in SHOWN:
        (text,) = re.findall(rf"```python\n(# pipeline/{re.escape(path)}\n.*?)```", PAGE, re.DOTALL)
        (made / "plugins" / path).parent.mkdir(parents=True, exist_ok=True)
        (made / "plugins" / path).write_text(text)
    settings = {name: value for name, value in checkout.TINY.items() if not name.startswith("families.")}
    own = {
        "train.family": "tiny",
        "families": {"tiny": {"width": 4, "latent": 8}},
        "tune.space": {"families.tiny.generator.lr": {"loguniform": [5e-4, 2e-3]}},
        "evaluate.metrics": [{"name": "frechet"}, {"name": "mean_shift"}],
        "run.num_workers": 2,  # processes of Ray's have to find the plug-ins too
    }
    checkout.configure(made, {**settings, **own})
    done = checkout.run(made, "make", "repro", env=environment, timeout=500)
    assert done.returncode == 0, done.stdout
    return made


def zerosum(project: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return checkout.run(project, "zerosum", *words, env=environment)


def test_no_code_but_the_library_is_installed(installed: Path) -> None:
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {
        "bin",
        "pipeline",
        "zerosum.py",
        *(name for name in ("__pycache__",) if (installed / name).exists()),
    }
    packed = {path.name for path in (installed / "pipeline/template").iterdir()}
    assert packed == {"stages", "dvc.yaml", "params.yaml", "dvcignore"}


def test_own_plug_ins_are_trained_scored_and_registered(project: Path, environment: dict[str, str]) -> None:
    metrics = json.loads((project / "artifacts/report/metrics.json").read_text())
    assert metrics["mean_shift"] > 0
    assert json.loads((project / "artifacts/model/model.json").read_text())["family"] == "tiny"
    assert "mine" in zerosum(project, environment, "models").stdout
    assert not (project / "pipeline").exists()
    again = checkout.run(project, "dvc", "repro", env=environment)
    assert again.stdout.count("didn't change, skipping") == 7, again.stdout


def test_dvc_sees_an_edit_of_a_plug_in_and_passes_over_a_comment(project: Path, environment: dict[str, str]) -> None:
    code = json.loads((project / "artifacts/code/train.json").read_text())
    assert "pipeline.families.tiny" in code
    family = project / "plugins/families/tiny.py"
    before = family.read_text()
    expected = {"# A comment.\n": set[str](), "EDITED = 1\n": {"train", "tune"}}
    for edit, stages in expected.items():
        family.write_text(before + edit)
        assert checkout.run(project, "dvc", "repro", "-s", "code", env=environment).returncode == 0
        status = checkout.run(project, "dvc", "status", "--json", "tune", "train", "reference", env=environment)
        assert stages <= set(json.loads(status.stdout)) <= stages | {"evaluate", "register"}, status.stdout
    family.write_text(before)
    assert checkout.run(project, "dvc", "repro", "-s", "code", env=environment).returncode == 0


def test_plug_ins_run_where_they_are_asked_for(project: Path, environment: dict[str, str]) -> None:
    words = ["generate", "--model", "artifacts/model", "--n", "2", "--out", "samples"]
    done = zerosum(project, environment, *words)
    assert done.returncode == 2
    assert f"export ZEROSUM_PLUGINS={project / 'plugins'}" in done.stdout
    asked = {**environment, "ZEROSUM_PLUGINS": str(project / "plugins")}
    done = zerosum(project, asked, *words)
    assert done.returncode == 0, done.stdout
    assert len(list((project / "samples").glob("*.png"))) == 2


def test_a_registered_model_brings_its_family(project: Path, environment: dict[str, str]) -> None:
    words = ["generate", "--model", "models:/mine@champion", "--n", "2", "--out", "registered"]
    assert zerosum(project, environment, *words).returncode == 2
    for more in ({}, {"ZEROSUM_PLUGINS": str(project / "plugins")}):
        done = zerosum(project, {**environment, **more}, *words, "--trust-code")
        assert done.returncode == 0, done.stdout


def test_a_name_of_the_librarys_is_refused(project: Path, environment: dict[str, str]) -> None:
    own = project / "plugins/losses/hinge.py"
    own.parent.mkdir()
    own.write_text("")
    done = zerosum(project, {**environment, "ZEROSUM_PLUGINS": str(project / "plugins")}, "check")
    own.unlink()
    assert done.returncode == 2
    assert str(own) in done.stdout


def test_what_is_there_stays(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    done = checkout.run(tmp_path, "zerosum", "new", "full", env=environment)
    assert done.returncode == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "file"]
    assert checkout.run(tmp_path, "zerosum", "new", "an odd/name", env=environment).returncode == 0
    done = checkout.run(tmp_path, "zerosum", "new", "other", "--name", "a/b", env=environment)
    assert done.returncode == 2
    assert not (tmp_path / "other").exists()


def test_a_folder_of_a_repository_becomes_a_project_of_it(environment: dict[str, str], tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    done = checkout.run(tmp_path, "zerosum", "new", "inner", env=environment)
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / "inner/.git").exists()
    assert (tmp_path / "inner/.dvc").is_dir()
