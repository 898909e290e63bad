from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from infra_files import INFRA

pytestmark = pytest.mark.slow


SCRIPT = INFRA / "slurm" / "zerosum.sbatch"

# One node: the step is a process of this machine, as srun's is of a node's.
SRUN = """#!/bin/bash
echo "srun $*" >> "$HEARD"
while [[ $1 == --* ]]; do shift; done
SLURM_CPUS_PER_TASK=1 SLURM_GPUS_ON_NODE=0 exec "$@"
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> "$HEARD"
[[ $1 == show ]] && echo "   PreemptEligibleTime=2026-11-22T10:58:52 PreemptTime=$PREEMPTED"
exit 0
"""
# In place of a node that starts.
RAY = """#!/bin/bash
echo Ray runtime started
exec sleep 60
"""
# What a command finds.
SHOW = """
import os, stat, sys, time
import ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
print("nodes", sorted((node["Alive"], node["Resources"].get("CPU", 0)) for node in ray.nodes()))
token = os.environ["RAY_AUTH_TOKEN_PATH"]
print("token", os.environ["RAY_AUTH_MODE"], oct(stat.S_IMODE(os.stat(token).st_mode)), len(open(token).read()))
print("folder", oct(stat.S_IMODE(os.stat(os.path.dirname(token)).st_mode)))
print("result", ray.get(ray.remote(lambda: 6 * 7).remote()), flush=True)
"""
SAVES = """#!/bin/bash
trap 'sleep 1; echo saved; exit 143' TERM
echo at work
while :; do sleep 0.2; done
"""


@dataclass
class Job:
    """The script as Slurm would run it, in a project folder, with stand-ins for srun and scontrol."""

    process: subprocess.Popen[str]
    folder: Path
    number: int

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def heard(self) -> str:
        path = self.folder / "heard"
        return path.read_text() if path.exists() else ""

    def until(self, text: str, within: float = 240) -> None:
        end = time.monotonic() + within
        while text not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.1)

    def left(self, within: float = 10) -> list[str]:
        """What is still there of the job when it has ended, processes and files; helpers of Ray's end a moment late."""
        end = time.monotonic() + within
        while (processes := [" ".join(each.cmdline()) for each in of(self.number)]) and time.monotonic() < end:
            time.sleep(0.2)
        paths = (f"/tmp/zerosum-{self.number}", f"{self.folder}/.zerosum-{self.number}")
        return processes + [path for path in paths if Path(path).exists()]


Submit = Callable[..., Job]


def of(number: int) -> Iterator[psutil.Process]:
    """Every process of the job, by what Slurm put into its environment."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.environ().get("SLURM_JOB_ID") == str(number) and each.status() != psutil.STATUS_ZOMBIE:
                yield each


@pytest.fixture
def submitted(tmp_path: Path) -> Iterator[Submit]:
    """Starts the script: `submitted(*words, ray="stub" or "real")`. What is left at the end is killed."""
    jobs: list[Job] = []

    def start(
        *words: str, ray: str = "stub", preempted: str = "None", before: Callable[[Path], object] = lambda scratch: None
    ) -> Job:
        number = os.getpid() * 10 + len(jobs)
        before(Path(f"/tmp/zerosum-{number}"))
        (tmp_path / "bin").mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("ray", RAY)):
            if name == "ray" and ray == "real":
                continue
            (tmp_path / "bin" / name).write_text(text)
            (tmp_path / "bin" / name).chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_", "DVC_"))}
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                ["bash", str(SCRIPT), *words],
                cwd="/",
                env={
                    **kept,
                    "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "HOME": str(tmp_path),
                    "HEARD": str(tmp_path / "heard"),
                    "PREEMPTED": preempted,
                    "SLURM_JOB_ID": str(number),
                    "SLURM_JOB_NUM_NODES": "1",
                    "SLURM_SUBMIT_DIR": str(tmp_path),
                    "ZEROSUM_HEAD_IP": "127.0.0.1",
                    "OMP_NUM_THREADS": "1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        jobs.append(Job(process, tmp_path, number))
        return jobs[-1]

    yield start
    for job in jobs:
        for each in [*of(job.number)]:
            with contextlib.suppress(psutil.Error):
                each.kill()
        job.process.wait()
        shutil.rmtree(f"/tmp/zerosum-{job.number}", ignore_errors=True)


@pytest.mark.long
def test_a_job_has_a_cluster_of_its_own_and_leaves_nothing(submitted: Submit) -> None:
    job = submitted(sys.executable, "-c", SHOW, ray="real")
    assert job.process.wait(280) == 0, job.log
    said = dict(
        line.split(" ", 1) for line in job.log.splitlines() if line.split(" ")[0] in {"nodes", "token", "folder"}
    )
    assert said["nodes"] == "[(True, 0), (True, 1.0)]", "a head without CPUs and a worker"
    assert said["token"] == "token 0o600 64"
    assert said["folder"] == "0o700"
    assert "result 42" in job.log
    assert not job.left()
    assert "requeue" not in job.heard


@pytest.mark.long
def test_out_of_time_the_command_saves_and_the_job_is_queued_again(submitted: Submit, tmp_path: Path) -> None:
    (tmp_path / "saves").write_text(SAVES)
    job = submitted("bash", str(tmp_path / "saves"), ray="real")
    job.until("at work")
    # spot-notice.sh finds a raylet by these two.
    lines = [each.cmdline() for each in of(job.number)]
    address = re.search(r"head on (\S+),", job.log)
    assert address
    port = address[1].rpartition(":")[2]
    raylets = [line for line in lines if any(word.startswith("--node_id=") for word in line)]
    assert len(raylets) >= 2
    assert all(any(re.fullmatch(rf"--gcs-address=\S+:{port}", word) for word in line) for line in raylets)
    job.process.send_signal(signal.SIGUSR1)
    assert job.process.wait(120) == 143, job.log
    assert "time is nearly up" in job.log
    assert job.log.index("saved") < job.log.index("back into the queue")
    assert job.heard.splitlines()[-1] == f"scontrol requeue {job.number}"
    assert not job.left()


@pytest.mark.parametrize(("preempted", "again"), [("2026-11-22T10:59:40", True), ("None", False)])
def test_preemption_is_told_from_a_cancelled_job(
    submitted: Submit, tmp_path: Path, preempted: str, again: bool
) -> None:
    (tmp_path / "saves").write_text(SAVES)
    job = submitted("bash", str(tmp_path / "saves"), preempted=preempted)
    job.until("at work")
    if again:
        # Preemption signals the steps: the workers go, and the script has to notice.
        (step,) = [each for each in of(job.number) if each.cmdline()[-1] == f"/tmp/zerosum-{job.number}"]
        step.terminate()
    else:
        job.process.terminate()
    assert job.process.wait(120) == 143, job.log
    assert "saved" in job.log
    assert (f"scontrol requeue {job.number}" in job.heard) is again
    assert not job.left()


# --- the folder on each node ------------------------------------------------------------------

LOOKS = """
folder=/tmp/zerosum-$SLURM_JOB_ID
stat --format='mode %a' "$folder"
echo "inside $(ls "$folder")"
stat --format='dvc %a' "$DVC_SITE_CACHE_DIR" "$DVC_SITE_CACHE_DIR/repo"
"""


def test_nobody_else_enters_the_folder_of_sockets_and_logs(submitted: Submit) -> None:
    job = submitted("bash", "-c", LOOKS)
    assert job.process.wait(60) == 0, job.log
    assert "mode 700" in job.log
    assert job.log.count("dvc 700") == 2, "what DVC unpickles"
    assert not job.left()


def test_what_an_earlier_life_of_the_job_left_is_made_anew(submitted: Submit) -> None:
    def left(scratch: Path) -> None:
        (scratch / "head" / "session").mkdir(parents=True)
        scratch.chmod(0o777)

    job = submitted("bash", "-c", LOOKS, before=left)
    assert job.process.wait(60) == 0, job.log
    assert "mode 700" in job.log
    assert "inside dvc" in job.log
    assert not job.left()


@pytest.mark.parametrize("kind", ["of another user", "a link", "a file"])
def test_a_folder_that_somebody_made_before_is_refused(kind: str, submitted: Submit, tmp_path: Path) -> None:
    if kind == "of another user" and os.getuid() != 0:
        pytest.skip("needs root to give a folder away")
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").touch()

    def planted(scratch: Path) -> None:
        if kind == "a link":
            scratch.symlink_to(target)
        elif kind == "a file":
            scratch.touch()
        else:
            scratch.mkdir(0o777)
            (scratch / "kept").touch()
            os.chown(scratch, 65534, 65534)

    job = submitted("bash", "-c", LOOKS, before=planted)
    scratch = Path(f"/tmp/zerosum-{job.number}")
    try:
        assert job.process.wait(60) == 2, job.log
        assert str(scratch) in job.log
        assert (target / "kept").exists()
        assert kind != "of another user" or (scratch / "kept").exists()
        assert "srun" not in job.heard
    finally:
        if scratch.is_dir() and not scratch.is_symlink():
            shutil.rmtree(scratch)
        else:
            scratch.unlink()


# --- before anything starts -------------------------------------------------------------------


def test_it_runs_under_slurm_only() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(["bash", str(SCRIPT)], env=kept, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "sbatch infra/slurm/zerosum.sbatch" in done.stderr


def test_stages_that_would_not_look_for_the_cluster_are_refused(submitted: Submit, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text('run:\n  address: ""\n')
    job = submitted()
    assert job.process.wait(60) == 2
    assert "run.address must be env" in job.log
    assert not job.left()


def test_the_command_fails_as_it_would_alone(submitted: Submit) -> None:
    job = submitted("bash", "-c", "exit 7")
    assert job.process.wait(60) == 7, job.log
    assert not job.left()
    assert "requeue" not in job.heard


def test_ray_knows_every_option_of_the_script() -> None:
    from ray.scripts.scripts import start

    text = SCRIPT.read_text().replace("\\\n", " ")
    commands = re.findall(r"(?m)\bray start (.*?)(?: > | &$)", text)
    assert len(commands) == 2
    for command in commands:
        plain = re.sub(r'"?\$[({][^ "]*[)}]?\)?"?|\$\w+', "1", command.replace("$((port + 1))", "1"))
        context = start.make_context("start", shlex.split(plain), resilient_parsing=True)
        assert not context.args, context.args
        assert context.params["block"]
    head = next(command for command in commands if "--head" in command)
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0 --num-gpus=0" in head


def test_slurm_is_told_to_signal_before_the_end_and_to_queue_again() -> None:
    told = [line.removeprefix("#SBATCH ") for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "--requeue" in told
    assert "--signal=B:USR1@120" in told
    assert "--open-mode=append" in told
    assert "--ntasks-per-node=1" in told
