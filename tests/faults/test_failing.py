"""What goes wrong is said in a sentence with an honest exit code, and once it is put right the stage ends as ever."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import checkout
import pytest
from processes import examples_seen, finished, stage

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

FAILED, WRONG, DRIFTED = 1, 2, 3


def test_numbers_that_are_none_fail_the_training(unsearched: Path, fork: Any) -> None:
    project = fork(unsearched, {"families.dcgan.generator": {"lr": 1e30}, "train.health": {"rollbacks": 1}})
    output = finished(project, "train", code=FAILED)
    assert "attempt 1" in output
    said = output.splitlines()[-1]
    assert said.startswith("train: ")
    assert "discriminator/total (and first of the weights discriminator/" in said
    assert " is not finite at " in said
    assert "after 1 returns to a checkpoint" in said
    assert not (project / "artifacts" / "model").exists()


def test_a_damaged_shard_is_named_though_one_rank_alone_meets_it(unsearched: Path, fork: Any) -> None:
    project = fork(unsearched, {"run.cache_megabytes": 0})
    shard = project / "artifacts" / "shards" / "train-000001.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    shard.write_bytes(data)
    output = finished(project, "train", code=WRONG)
    assert output.splitlines()[-1].startswith("train: ")
    assert "train-000001.tar" in output.splitlines()[-1]


def test_an_address_where_nobody_answers(unsearched: Path, fork: Any) -> None:
    project = fork(unsearched, {"run.address": "127.0.0.1:1"})
    started = time.monotonic()
    output = finished(project, "train", code=WRONG)
    assert "train: run.address: no Ray cluster answers at 127.0.0.1:1" in output
    assert time.monotonic() - started < 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Callable[[Path], Path]]:
    """Puts a project's scratch on a disk of its own that is as good as full; answers what fills it."""
    mounted: list[Path] = []

    def mount(project: Path) -> Path:
        work = project / ".work"
        kept = {path.relative_to(work): path.read_bytes() for path in work.rglob("*") if path.is_file()}
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(work)], capture_output=True)
        if done.returncode:
            pytest.skip("a disk of its own takes the right to mount one")
        mounted.append(work)
        for name, data in kept.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(data)
        free = os.statvfs(work)
        filler = work / "filler"
        filler.write_bytes(bytes(free.f_bavail * free.f_bsize - 120_000))
        return filler

    yield mount
    for work in mounted:
        subprocess.run(["umount", str(work)], check=True)


def test_a_full_disk(
    trained: tuple[Path, str], unsearched: Path, fork: Any, small_disk: Callable[[Path], Path]
) -> None:
    project = fork(unsearched)
    filler = small_disk(project)
    output = finished(project, "train", code=FAILED)
    assert "the disk is full" in output
    filler.unlink()
    finished(project, "train")
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


@pytest.mark.parametrize(("what", "code"), [("source", DRIFTED), ("own setting", DRIFTED), ("other setting", 0)])
def test_an_edit_while_a_stage_runs(what: str, code: int, measured: Path, fork: Any) -> None:
    """DVC would record the edited file as what the artefact was made by."""
    project = fork(measured)
    running = stage(project, "reference")
    running.until(lambda: "preparing the extractor" in running.output)
    if what == "source":
        with (project / "pipeline" / "extractors" / "classifier.py").open("a") as file:
            file.write("# edited\n")
    else:
        checkout.configure(project, {"reference.seed": 5} if what == "own setting" else {"run.num_workers": 1})
    assert running.wait() == code, running.output
    assert ("changed while it ran" in running.output) == bool(code)


@pytest.mark.parametrize("workers", [1, 2])
def test_ingest_packs_the_same_bytes_alone_and_through_ray(workers: int, measured: Path, fork: Any) -> None:
    project = fork(measured, {"run.num_workers": workers})
    before = checkout.hashes(project, "shards")
    for file in (project / "artifacts" / "shards").iterdir():
        file.unlink()
    finished(project, "ingest")
    assert checkout.hashes(project, "shards") == before


@pytest.mark.parametrize("beside", ["never", "always"])
def test_scratch_that_is_removed_while_it_trains(
    trained: tuple[Path, str], unsearched: Path, fork: Any, beside: str
) -> None:
    """With the checkpoints go grids and scores that the model is published with: it ends, and begins again."""
    project = fork(unsearched, {"run.score_beside": beside})
    running = stage(project, "train")
    running.until(lambda: examples_seen(project) >= 320)
    shutil.rmtree(project / ".work", ignore_errors=True)
    assert running.wait() == FAILED, running.output
    said = running.output.strip().splitlines()[-1]
    assert said.startswith("train: ")
    assert "was removed while it was in use; run it again: it begins again" in said
    assert not (project / "artifacts" / "model").exists()
    finished(project, "train")
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


def test_an_environment_and_a_project_whose_paths_a_shell_would_read(
    trained: tuple[Path, str], unsearched: Path, fork: Any, tmp_path: Path
) -> None:
    """And a folder for temporary files, as Slurm gives one, that is too long for a socket."""
    odd = "my 'e\"nv' $x;(é#%20&)"
    project = fork(unsearched).rename(tmp_path / odd)
    environment = tmp_path / f"{odd} too"
    environment.symlink_to(Path(sys.executable).parent.parent, target_is_directory=True)
    temporary = tmp_path / ("t" * 90)
    temporary.mkdir()
    done = subprocess.run(
        [str(environment / "bin" / Path(sys.executable).name), "-m", "stages.train"],
        cwd=project,
        env={**checkout.environment(project), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


@pytest.mark.parametrize("output", ["ascii", "closed", "full", "no reader"])
def test_no_output_fails_a_finished_stage(output: str, measured: Path, fork: Any) -> None:
    """Names of classes, ± and × are in what a stage prints."""
    project = fork(measured)
    command = {
        "ascii": 'PYTHONIOENCODING=ascii exec "$0" -m stages.reference',
        "closed": 'exec "$0" -m stages.reference >&- 2>&-',
        "full": 'exec "$0" -m stages.reference > /dev/full',
        "no reader": 'set -o pipefail; "$0" -m stages.reference | true',
    }[output]
    done = subprocess.run(
        ["bash", "-c", command, sys.executable],
        cwd=project,
        env=checkout.environment(project),
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert checkout.hashes(project, "reference") == checkout.hashes(measured, "reference")
