"""Images, what goes into them, the scripts that run in them, and the versions that definitions name."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from docker.utils import exclude_paths
from infra_files import INFRA, ROOT, pins, tool

from pipeline.run.settings import RunSettings
from pipeline.settings import validate

DOCKERFILES = (INFRA / "docker" / "Dockerfile", INFRA / "mlflow" / "Dockerfile")
SCRIPTS = ("digests.sh", "docker/repro.sh", "ray/spot-notice.sh", "slurm/zerosum.sbatch")
LOCK = pins(ROOT / "requirements.lock")


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its text) in order; continued lines joined, comments dropped."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text()).replace("\\\n", " ")
    return [(line.split()[0], " ".join(line.split()[1:])) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_is_sound_runs_as_nobody_and_installs_by_hash(path: Path) -> None:
    tool("hadolint", path)
    found = instructions(path)
    assert [name for name, _ in found if name in {"RUN", "USER"}][-1] == "USER", "nothing runs as root"
    assert dict(found)["USER"] in {"1000", "${UID}"}, "Kubernetes can only tell a number from root"
    installs = re.findall(r'pip install ([^&;"]*)', " ".join(rest for name, rest in found if name == "RUN"))
    assert installs
    for install in installs:
        assert {"--require-hashes", "--no-deps"} <= set(install.split()) or install.strip().endswith("--editable ."), (
            install
        )


def test_extras_agree_with_the_lock_and_with_each_other() -> None:
    seen = dict(LOCK)
    for name in ("docker/aws.lock", "docker/gcp.lock", "mlflow/requirements.lock"):
        for package, version in pins(INFRA / name).items():
            assert seen.setdefault(package, version) == version, f"{name}: {package}"


def test_definitions_name_the_versions_that_are_installed() -> None:
    wanted = {
        r"\brayVersion: \"?([\d.]+)": LOCK["ray"],
        r"zerosum-mlflow:([\d.]+)": LOCK["mlflow"],
        r"zerosum:(\d[\d.]*)-c": metadata.version("zerosum"),
        r"newTag: (\d[\d.]*)-c": metadata.version("zerosum"),
        r"(?m)^ARG PYTHON=(\S+)": dict(re.findall(r"(?m)^ARG (\w+)=(\S+)", DOCKERFILES[0].read_text()))["PYTHON"],
    }
    text = "".join(path.read_text() for path in INFRA.rglob("*") if path.is_file() and path.suffix != ".lock")
    found = {pattern: set(re.findall(pattern, text)) for pattern in wanted}
    assert found == {pattern: {version} for pattern, version in wanted.items()}


def test_the_settings_that_the_readme_shows_are_valid() -> None:
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```", (INFRA / "README.md").read_text())
    shown = [validate(RunSettings, yaml.safe_load(block.replace("BUCKET", "bucket"))["run"], "run") for block in blocks]
    assert [settings.address for settings in shown] == ["http://127.0.0.1:8265", "env"]


def test_only_what_is_named_goes_into_an_image(tmp_path: Path) -> None:
    sent = {
        ".dvc/config", "infra/docker/repro.sh", "infra/mlflow/requirements.lock", "infra/ray/spot-notice.sh",
        "params.yaml", "pipeline/families/dcgan.py", "stages/train.py",
    }  # fmt: skip
    left = {
        ".dvc/config.local", ".dvc/cache/files/md5/ab/cdef", ".dvc/tmp/lock", ".env", ".git/config", ".venv/bin/python",
        ".work/train-1/checkpoint.safetensors", "artifacts/model/generator.safetensors", "cluster.yaml", "mlflow.db",
        "data/images/1.png", "infra/mlflow/.env", "mlartifacts/1/model", "samples/00000.png", "tests/conftest.py",
        "pipeline/families/__pycache__/dcgan.cpython-311.pyc",
    }  # fmt: skip
    for name in sent | left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    assert {name for name in exclude_paths(str(tmp_path), patterns) if (tmp_path / name).is_file()} == sent
    # And each Dockerfile copies only what is sent.
    context = exclude_paths(str(ROOT), patterns)
    copied = [rest.split()[:-1] for path in DOCKERFILES for name, rest in instructions(path) if name == "COPY"]
    for source in {source for sources in copied for source in sources} - {"."}:
        assert {str(path.relative_to(ROOT)) for path in ROOT.glob(source)} <= context, source
        assert list(ROOT.glob(source)), source


# --- scripts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_sound(name: str) -> None:
    tool("shellcheck", "--shell=bash", INFRA / name)
    assert "set -euo pipefail" in (INFRA / name).read_text()


def test_every_script_is_checked() -> None:
    found = {path for path in INFRA.rglob("*") if path.is_file() and path.read_bytes()[:2] == b"#!"}
    assert {str(path.relative_to(INFRA)) for path in found} == set(SCRIPTS)
    assert all(path.stat().st_mode & stat.S_IXUSR for path in found if path.suffix == ".sh"), "started by their names"


def stand_in(path: Path, text: str) -> None:
    """A program that does as the test says."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_tags_are_resolved_to_digests(tmp_path: Path) -> None:
    """With a stand-in for docker, which has no registry here."""
    shutil.copytree(INFRA, tmp_path / "infra")
    digest, script = "sha256:" + "a1" * 32, tmp_path / "infra" / "digests.sh"
    stand_in(tmp_path / "bin" / "docker", f'echo "$4" >> {tmp_path}/asked\necho {digest}')
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    subprocess.run([script], env=environment, check=True, capture_output=True)
    found = dict(line.split("=", 1) for line in (tmp_path / "infra" / "digests.env").read_text().splitlines())
    assert set(found.values()) == {f"@{digest}"}
    assert found.keys() == set(re.findall(r"\$\{(\w+_DIGEST):-\}", (INFRA / "mlflow" / "compose.yaml").read_text()))
    images = [each.partition(":")[0] for each in (tmp_path / "asked").read_text().split()]
    assert images == ["python", "postgres", "chrislusf/seaweedfs", "amazon/aws-cli"]
    stand_in(tmp_path / "bin" / "docker", "echo no such image")
    assert subprocess.run([script], env=environment, check=False, capture_output=True).returncode == 1


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What the image has at /opt/zerosum, and a dvc that says what it was asked and where its own folder is."""
    here = tmp_path / "image"
    names = ("pipeline/net.py", "stages/train.py", ".dvc/config", ".dvcignore", "dvc.yaml", "dvc.lock", "params.yaml")
    for name in (*names, "inputs/ingest/data"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("of the image\n")
    (here / "infra" / "docker").mkdir(parents=True)
    shutil.copy(INFRA / "docker" / "repro.sh", here / "infra" / "docker")
    stand_in(tmp_path / "bin" / "dvc", '[[ $1 == repro ]] && echo "$PWD $* $DVC_SITE_CACHE_DIR"\n:')
    return here


def repro(image: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    told = {
        "PATH": f"{image.parent / 'bin'}:{os.environ['PATH']}",
        "TMPDIR": str(image.parent),
        "DVC_SITE_CACHE_DIR": "",
    }
    command = [str(image / "infra" / "docker" / "repro.sh"), *words]
    return subprocess.run(command, env={**os.environ, **told, **variables}, capture_output=True, text=True, check=False)


def test_repro_keeps_what_was_computed_and_takes_the_images_code(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "project"
    site = tmp_path / f"zerosum-dvc-{os.getuid()}"
    assert repro(image, str(folder), "train", "--force").stdout.split() == [
        str(folder),
        "repro",
        "train",
        "--force",
        str(site),
    ]
    kept = ("dvc.lock", "params.yaml", "inputs/ingest/data")
    laid_out = [path for path in image.rglob("*") if path.is_file() and path.name != "repro.sh"]
    assert all((folder / path.relative_to(image)).read_text() == "of the image\n" for path in laid_out)
    for name in (*kept, "pipeline/gone.py"):
        (folder / name).write_text("changed here\n")
    (image / "pipeline" / "net.py").write_text("newer\n")
    assert repro(image, str(folder)).returncode == 0
    assert {(folder / name).read_text() for name in kept} == {"changed here\n"}
    assert (folder / "pipeline" / "net.py").read_text() == "newer\n"
    assert not (folder / "pipeline" / "gone.py").exists()
    (tmp_path / "own.yaml").write_text("given\n")
    assert repro(image, str(folder), ZEROSUM_PARAMS=str(tmp_path / "own.yaml")).returncode == 0
    assert (folder / "params.yaml").read_text() == "given\n"


def test_repro_refuses_a_folder_in_use_and_a_cache_that_others_could_write_to(image: Path, tmp_path: Path) -> None:
    """DVC unpickles what is in its cache."""
    assert repro(image).returncode == 2, "which folder?"
    folder, site = tmp_path / "project", tmp_path / f"zerosum-dvc-{os.getuid()}"
    assert repro(image, str(folder)).returncode == 0
    assert stat.S_IMODE(site.stat().st_mode) == 0o700
    held = subprocess.run(
        ["flock", str(folder / ".repro.lock"), image / "infra/docker/repro.sh", str(folder)],
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert held.returncode == 2
    site.chmod(0o777)
    assert repro(image, str(folder)).returncode == 2
    site.rmdir()
    site.symlink_to(tmp_path)
    assert repro(image, str(folder)).returncode == 2
