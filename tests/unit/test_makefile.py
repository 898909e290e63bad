"""What `make` gives to every command: DVC keeps what it unpickles where no other user of the machine can write."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN = f"dvc-{os.getuid()}"

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A DVC project, with the Makefile and an environment of its own that has this one's programs."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1 > made\n    outs: [made]\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return tmp_path


def made_by(project: Path, words: str, umask: int = 0o022) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "DVC_SITE_CACHE_DIR"}
    done = subprocess.run(
        ["make", "-s", f"--eval=asked: ; @$(ENV) {words}", "asked"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        umask=umask,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def writable(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP)]


def test_dvcs_cache_is_nobody_elses_to_write_to(project: Path) -> None:
    made_by(project, "dvc repro")
    assert (project / "made").read_text() == "1\n"
    kept = project / ".venv" / OWN
    assert list((kept / "repo").glob("*/*")), "it was used"
    assert not writable(kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def test_a_cache_that_the_user_names_is_used(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made_by(project, "bash -c 'echo $$DVC_SITE_CACHE_DIR'").strip() == str(project / ".venv" / OWN)
    done = subprocess.run(
        ["make", "-s", "--eval=asked: ; @$(ENV) printenv DVC_SITE_CACHE_DIR", "asked"],
        cwd=project,
        env={**os.environ, "DVC_SITE_CACHE_DIR": "/elsewhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "/elsewhere"


def test_a_shell_with_the_environment_has_it_too(project: Path) -> None:
    environment = project / "own"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    for _ in range(2):
        subprocess.run(
            ["make", "-s", f"BIN={environment}/bin", "--eval=asked: ; @$(ACTIVATED)", "asked"], cwd=project, check=True
        )
    text = (environment / "bin" / "activate").read_text()
    assert len(re.findall("export DVC_SITE_CACHE_DIR", text)) == 1
    done = subprocess.run(
        ["bash", "-c", f"source {environment}/bin/activate && printenv DVC_SITE_CACHE_DIR"],
        env={name: value for name, value in os.environ.items() if name != "DVC_SITE_CACHE_DIR"},
        capture_output=True,
        text=True,
        check=True,
    )
    folder = Path(done.stdout.strip())
    assert folder == environment / OWN
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not writable(folder)
