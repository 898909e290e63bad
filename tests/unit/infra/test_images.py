from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from docker.utils import exclude_paths
from infra_files import INFRA, ROOT, lock, pins, tool

DOCKERFILES = (INFRA / "docker" / "Dockerfile", INFRA / "mlflow" / "Dockerfile")
EXTRAS = (INFRA / "docker" / "aws.lock", INFRA / "docker" / "gcp.lock", INFRA / "mlflow" / "requirements.lock")


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its text) in order; continued lines joined, comments dropped."""
    text = re.sub(r"(?m)^\s*#.*\n", "", path.read_text())
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(word.upper(), " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in lines)]


def all_of(path: Path, word: str) -> list[str]:
    return [rest for name, rest in instructions(path) if name == word]


def arguments(path: Path) -> dict[str, str]:
    return dict(rest.split("=", 1) for rest in all_of(path, "ARG") if "=" in rest)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    tool("hadolint", path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_python_is_of_one_version_and_fits_the_project(path: Path) -> None:
    version = arguments(path)["PYTHON"]
    assert all_of(path, "FROM") == ["python:${PYTHON}-slim-bookworm${PYTHON_DIGEST}"]
    assert arguments(path)["PYTHON_DIGEST"] == "", "that of infra/digests.env, where one was looked up"
    assert re.fullmatch(r"3\.11\.\d+", version)
    assert version == arguments(DOCKERFILES[0])["PYTHON"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.12"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_nothing_runs_as_root(path: Path) -> None:
    users = all_of(path, "USER")
    number = users[-1].replace("${UID}", arguments(path).get("UID", ""))
    assert number.isdigit(), "Kubernetes can only tell a number from root"
    assert int(number) == 1000
    assert instructions(path).index(("USER", users[-1])) > max(
        index for index, (name, _) in enumerate(instructions(path)) if name == "RUN"
    )


def test_the_image_installs_the_lock_and_nothing_newer() -> None:
    run = " ".join(all_of(DOCKERFILES[0], "RUN"))
    assert "--requirement requirements.lock" in run
    assert "--no-deps --no-build-isolation --editable ." in run
    assert "pip check" in run
    for path in DOCKERFILES:
        installs = re.findall(r"pip install ([^&;\"]*)", " ".join(all_of(path, "RUN")))
        assert installs
        for install in installs:
            editable = "--editable ." in install
            assert {"--require-hashes", "--no-deps"} <= set(install.split()) or editable, install
            wanted = [word for word in install.split() if not word.startswith("--")]
            named = [word for word in wanted if "==" in word or re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", word)]
            assert not named, f"without a hash: {named}"


def test_the_images_user_cannot_change_its_code() -> None:
    text = DOCKERFILES[0].read_text()
    assert not re.search(r"chown|--owner=zerosum[^\n]*/opt", text)
    assert all_of(DOCKERFILES[0], "COPY")[-1] == ". ."
    run = all_of(DOCKERFILES[0], "RUN")[-1]
    assert "chmod --recursive u=rwX,go=rX /opt/zerosum" in run
    assert "tools/sbom.py sbom.json" in run


def test_the_torch_of_the_lock_is_found_by_the_image() -> None:
    # As the Dockerfile looks it up.
    found = subprocess.run(
        ["grep", "^torch==", str(ROOT / "requirements.lock")], capture_output=True, text=True, check=True
    )
    assert len(found.stdout.splitlines()) == 1
    assert found.stdout.split()[0] == f"torch=={lock()['torch']}"
    base, _, build = arguments(DOCKERFILES[0])["TORCH_INDEX"].rpartition("/")
    assert build == "cpu"
    assert f"--index-url {base}/cu" in (ROOT / "README.md").read_text(), "as the README installs it"


def test_an_image_reports_to_nobody_and_wants_a_token() -> None:
    said = dict(
        pair.split("=", 1) for rest in all_of(DOCKERFILES[0], "ENV") for pair in re.findall(r"[A-Z_]+=\S+", rest)
    )
    (line,) = re.findall(r"(?m)^QUIET := (.*)$", (ROOT / "Makefile").read_text())
    quiet = dict(pair.split("=", 1) for pair in line.split())
    assert len(quiet) == 4
    assert quiet.items() <= said.items()
    assert said["RAY_AUTH_MODE"] == "token"
    assert said["HOME"] == "/home/zerosum", "Ray's cluster launcher looks for it to mount the token"


def test_what_others_call_in_the_image_is_installed() -> None:
    run = " ".join(all_of(DOCKERFILES[0], "RUN"))
    for package in ("rsync", "openssh-client", "wget", "tini", "git"):
        assert re.search(rf"\b{package}\b", run), package
    assert all_of(DOCKERFILES[0], "ENTRYPOINT") == ['["tini", "--"]']


@pytest.mark.parametrize("path", EXTRAS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_extras_are_pinned_and_agree_with_the_lock(path: Path) -> None:
    both = pins(path).keys() & lock().keys()
    assert {name: pins(path)[name] for name in both} == {name: lock()[name] for name in both}
    assert path == EXTRAS[2] or not both, f"{both} are pinned twice"


def test_extras_agree_with_each_other() -> None:
    seen: dict[str, str] = {}
    for path in EXTRAS:
        for name, version in pins(path).items():
            assert seen.setdefault(name, version) == version, name


def test_only_what_is_named_goes_into_an_image(tmp_path: Path) -> None:
    for name in (
        ".dvc/config",
        ".dvc/config.local",
        ".dvc/cache/files/md5/ab/cdef",
        ".dvc/tmp/lock",
        ".env",
        ".git/config",
        ".venv/bin/python",
        ".work/train-1/checkpoint.safetensors",
        "artifacts/model/generator.safetensors",
        "cluster.yaml",
        "data/images/1.png",
        "infra/docker/repro.sh",
        "infra/mlflow/.env",
        "infra/mlflow/requirements.lock",
        "infra/ray/spot-notice.sh",
        "mlartifacts/1/model",
        "mlflow.db",
        "params.yaml",
        "pipeline/families/dcgan.py",
        "pipeline/families/__pycache__/dcgan.cpython-311.pyc",
        "samples/00000.png",
        "samples-grid.png",
        "stages/train.py",
        "tests/conftest.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {name for name in exclude_paths(str(tmp_path), patterns) if (tmp_path / name).is_file()}
    assert sent - {".dockerignore"} == {
        ".dvc/config",
        "infra/docker/repro.sh",
        "infra/mlflow/requirements.lock",
        "infra/ray/spot-notice.sh",
        "params.yaml",
        "pipeline/families/dcgan.py",
        "stages/train.py",
    }


def test_every_line_of_dockerignore_names_something_that_is_there() -> None:
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists(), line


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_what_is_copied_is_in_the_context(path: Path) -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    sent = set(exclude_paths(str(ROOT), patterns))
    for rest in all_of(path, "COPY"):
        *sources, _ = [word for word in rest.split() if not word.startswith("--")]
        for source in sources:
            found = [str(each.relative_to(ROOT)) for each in ROOT.glob(source)] if source != "." else ["stages"]
            assert found, source
            assert sent.issuperset(found), source


# --- scripts ----------------------------------------------------------------------------------


SCRIPTS = ("digests.sh", "docker/repro.sh", "ray/spot-notice.sh", "slurm/zerosum.sbatch")


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_sound(name: str) -> None:
    subprocess.run(["bash", "-n", str(INFRA / name)], check=True)
    tool("shellcheck", "--shell=bash", INFRA / name)
    text = (INFRA / name).read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text


def test_every_script_is_checked() -> None:
    found = {
        str(path.relative_to(INFRA)) for path in INFRA.rglob("*") if path.is_file() and path.read_bytes()[:2] == b"#!"
    }
    assert found == set(SCRIPTS)
    for name in ("docker/repro.sh", "ray/spot-notice.sh"):
        assert (INFRA / name).stat().st_mode & stat.S_IXUSR, f"{name} is started by its name"


def test_infra_holds_no_python() -> None:
    assert not list(INFRA.rglob("*.py"))


def test_tags_are_resolved_to_digests(tmp_path: Path) -> None:
    """With a stand-in for docker, which has no registry here."""
    shutil.copytree(INFRA, tmp_path / "infra")
    docker = tmp_path / "docker"
    digest = "sha256:" + "a1" * 32
    docker.write_text(f'#!/bin/bash\necho "$4" >> {tmp_path}/asked\necho {digest}\n')
    docker.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = tmp_path / "infra" / "digests.sh"
    subprocess.run([script], env=environment, check=True, capture_output=True)
    found = dict(line.split("=", 1) for line in (tmp_path / "infra" / "digests.env").read_text().splitlines())
    assert set(found.values()) == {f"@{digest}"}
    compose = (INFRA / "mlflow" / "compose.yaml").read_text()
    assert found.keys() == set(re.findall(r"\$\{(\w+_DIGEST):-\}", compose)), "each is read"
    asked = (tmp_path / "asked").read_text().split()
    assert asked[0] == f"python:{arguments(DOCKERFILES[0])['PYTHON']}-slim-bookworm"
    assert [each.partition(":")[0] for each in asked[1:]] == ["postgres", "chrislusf/seaweedfs", "amazon/aws-cli"]
    docker.write_text("#!/bin/bash\necho no such image\n")
    assert subprocess.run([script], env=environment, check=False, capture_output=True).returncode == 1
    assert not list((tmp_path / "infra").glob("digests.??????"))


COPIED = (
    "pipeline/net.py",
    "stages/train.py",
    ".dvc/config",
    ".dvcignore",
    "dvc.yaml",
    "dvc.lock",
    "inputs/ingest/data",
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What the image has at /opt/zerosum, and a dvc that says what it was asked."""
    here = tmp_path / "image"
    (here / "infra" / "docker").mkdir(parents=True)
    shutil.copy(INFRA / "docker" / "repro.sh", here / "infra" / "docker")
    for name in COPIED:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(f"{name} of the image\n")
    (here / "params.yaml").write_text("run: {}\n")
    dvc = tmp_path / "bin" / "dvc"
    dvc.parent.mkdir()
    dvc.write_text('#!/bin/bash\necho "$PWD: dvc $*"\n')
    dvc.chmod(0o755)
    return here


def repro(image: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{image.parent / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [str(image / "infra" / "docker" / "repro.sh"), *words],
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_repro_lays_the_project_out_and_runs_dvc_there(image: Path, tmp_path: Path) -> None:
    done = repro(image, str(tmp_path / "shared" / "zerosum"), "train", "--force")
    folder = tmp_path / "shared" / "zerosum"
    assert done.stdout.splitlines() == [
        f"{folder}: dvc config --local core.no_scm true",
        f"{folder}: dvc repro train --force",
    ]
    for name in COPIED:
        assert (folder / name).read_text() == f"{name} of the image\n"


def test_repro_gives_dvc_a_folder_of_its_own(image: Path, tmp_path: Path) -> None:
    """DVC unpickles what is in its cache."""
    (image.parent / "bin" / "dvc").write_text('#!/bin/bash\n[[ $1 == repro ]] && echo "$DVC_SITE_CACHE_DIR"\n:\n')
    site = tmp_path / f"zerosum-dvc-{os.getuid()}"
    told = {"TMPDIR": str(tmp_path), "DVC_SITE_CACHE_DIR": ""}
    for _ in range(2):
        done = repro(image, str(tmp_path / "project"), **told)
        assert done.stdout.split() == [str(site)]
        assert stat.S_IMODE(site.stat().st_mode) == 0o700
    site.chmod(0o777)
    assert repro(image, str(tmp_path / "project"), **told).returncode == 2
    site.rmdir()
    site.symlink_to(tmp_path)
    assert repro(image, str(tmp_path / "project"), **told).returncode == 2


def test_repro_keeps_what_was_computed_and_takes_the_images_code(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    assert repro(image, str(folder)).returncode == 0
    (folder / "dvc.lock").write_text("computed here\n")
    (folder / "params.yaml").write_text("changed here\n")
    (folder / "inputs/ingest/data").unlink()
    (folder / "inputs/ingest/data").symlink_to("../../flowers")
    (folder / "artifacts").mkdir()
    (folder / "pipeline" / "gone.py").write_text("removed from the image since\n")
    (image / "pipeline" / "net.py").write_text("newer\n")
    assert repro(image, str(folder)).returncode == 0
    assert (folder / "dvc.lock").read_text() == "computed here\n"
    assert (folder / "params.yaml").read_text() == "changed here\n"
    assert str((folder / "inputs/ingest/data").readlink()) == "../../flowers"
    assert (folder / "artifacts").is_dir()
    assert (folder / "pipeline" / "net.py").read_text() == "newer\n"
    assert not (folder / "pipeline" / "gone.py").exists()
    own = tmp_path / "own.yaml"
    own.write_text("given\n")
    assert repro(image, str(folder), ZEROSUM_PARAMS=str(own)).returncode == 0
    assert (folder / "params.yaml").read_text() == "given\n"


def test_repro_refuses_what_cannot_work(image: Path, tmp_path: Path) -> None:
    nothing = repro(image)
    assert nothing.returncode == 2
    assert "which folder?" in nothing.stderr
    folder = tmp_path / "project"
    folder.mkdir()
    with subprocess.Popen(["flock", str(folder / ".repro.lock"), "sleep", "30"], start_new_session=True) as other:
        try:
            for _ in range(100):
                busy = repro(image, str(folder))
                if busy.returncode == 2:
                    break
            assert f"another run is at work in {folder}" in busy.stderr
        finally:
            os.killpg(other.pid, 9)
    # `sleep` holds the lock as well, until it is gone.
    subprocess.run(["flock", str(folder / ".repro.lock"), "true"], check=True, timeout=30)
    assert repro(image, str(folder)).returncode == 0
