"""The script for Slurm, run as Slurm would run it, with stand-ins for srun, scontrol and, in quick tests, for Ray."""

from __future__ import annotations

import contextlib
import os
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

PROGRAMS = {
    # One node: the step is a process of this machine, as srun's is of a node's.
    "srun": 'echo "srun $*" >> "$HEARD"\nwhile [[ $1 == --* ]]; do shift; done\n'
    'SLURM_CPUS_PER_TASK=1 SLURM_GPUS_ON_NODE=0 exec "$@"',
    "scontrol": 'echo "scontrol $*" >> "$HEARD"\n[[ $1 == show ]] && echo "   PreemptTime=$PREEMPTED"\nexit 0',
    "ray": "echo Ray runtime started\nexec sleep 60",  # in place of a node that starts
    "dvc": 'echo "dvc $*"',
    "saves": "trap 'echo saved; exit 143' TERM\necho at work\nwhile :; do sleep 0.2; done",
    "looks": 'cd "/tmp/zerosum-$SLURM_JOB_ID"\n'
    'echo "mode $(stat --format=%a . "$DVC_SITE_CACHE_DIR" "$DVC_SITE_CACHE_DIR/repo" | xargs)"\nls',
}
# What a command finds on the cluster.
SHOW = """
import os, stat, ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level="ERROR")
print("nodes", sorted((node["Alive"], node["Resources"].get("CPU", 0)) for node in ray.nodes()))
token = os.environ["RAY_AUTH_TOKEN_PATH"]
modes = [oct(stat.S_IMODE(os.stat(path).st_mode)) for path in (token, os.path.dirname(token))]
print("token", os.environ["RAY_AUTH_MODE"], *modes, len(open(token).read()))
print("result", ray.get(ray.remote(lambda: 6 * 7).remote()), flush=True)
"""


@dataclass
class Job:
    """The script at work in a project folder."""

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

    @property
    def scratch(self) -> Path:
        return Path(f"/tmp/zerosum-{self.number}")

    def until(self, text: str, within: float = 240) -> None:
        end = time.monotonic() + within
        while text not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.1)

    def ends(self, code: int, within: float = 120) -> None:
        """With this code, and nothing of it is left: neither files nor processes; Ray's helpers end a moment late."""
        assert self.process.wait(within) == code, self.log
        assert psutil.wait_procs(of(self.number), timeout=10)[1] == []
        assert not (self.folder / f".zerosum-{self.number}").exists()


Submit = Callable[..., Job]


def of(number: int) -> list[psutil.Process]:
    """Every process of the job, by what Slurm put into its environment."""
    found: list[psutil.Process] = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.environ().get("SLURM_JOB_ID") == str(number) and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


@pytest.fixture
def submitted(tmp_path: Path) -> Iterator[Submit]:
    """Starts the script with these words; `before` is told the scratch folder. What is left at the end is killed."""
    jobs: list[Job] = []
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def start(
        *words: str, ray: str = "stub", preempted: str = "None", before: Callable[[Path], object] = lambda scratch: None
    ) -> Job:
        number = os.getpid() * 10 + len(jobs)
        before(Path(f"/tmp/zerosum-{number}"))
        if ray == "real":
            (tmp_path / "bin" / "ray").unlink()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_", "DVC_"))
        }
        environment |= {"PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment |= {"HOME": str(tmp_path), "HEARD": str(tmp_path / "heard"), "PREEMPTED": preempted}
        environment |= {"SLURM_JOB_ID": str(number), "SLURM_JOB_NUM_NODES": "1", "SLURM_SUBMIT_DIR": str(tmp_path)}
        environment |= {"ZEROSUM_HEAD_IP": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        with (tmp_path / "log").open("w") as log:
            command = ["bash", str(INFRA / "slurm" / "zerosum.sbatch"), *words]
            process = subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        jobs.append(Job(process, tmp_path, number))
        return jobs[-1]

    yield start
    for job in jobs:
        for each in of(job.number):
            with contextlib.suppress(psutil.Error):
                each.kill()
        job.process.wait()
        if job.scratch.is_symlink() or job.scratch.is_file():
            job.scratch.unlink()
        shutil.rmtree(job.scratch, ignore_errors=True)


@pytest.mark.long
def test_a_job_has_a_cluster_of_its_own_and_leaves_nothing(submitted: Submit) -> None:
    job = submitted(sys.executable, "-c", SHOW, ray="real")
    job.ends(0, within=280)
    # A head without CPUs and a worker; a token that only its owner reads.
    assert "\nnodes [(True, 0), (True, 1.0)]\ntoken token 0o600 0o700 64\nresult 42\n" in job.log
    assert not job.scratch.exists()
    assert "requeue" not in job.heard


@pytest.mark.long
def test_out_of_time_the_command_saves_and_the_job_is_queued_again(submitted: Submit) -> None:
    job = submitted("saves", ray="real")
    job.until("at work")
    # spot-notice.sh finds a raylet by these two words.
    address = job.log.partition("head on ")[2].partition(",")[0]
    raylets = [each.cmdline() for each in of(job.number) if any("--node_id=" in word for word in each.cmdline())]
    assert len(raylets) >= 2
    for line in raylets:
        assert [word.partition(":")[2] for word in line if word.startswith("--gcs-address=")] == [
            address.partition(":")[2]
        ]
    job.process.send_signal(signal.SIGUSR1)
    job.ends(143)
    assert job.log.index("saved") < job.log.index("back into the queue")
    assert job.heard.splitlines()[-1] == f"scontrol requeue {job.number}"


@pytest.mark.parametrize(("preempted", "again"), [("2026-11-22T10:59:40", True), ("None", False)])
def test_preemption_is_told_from_a_cancelled_job(submitted: Submit, preempted: str, again: bool) -> None:
    job = submitted("saves", preempted=preempted)
    job.until("at work")
    if again:
        # Preemption signals the steps: the workers go, and the script has to notice.
        (step,) = [each for each in of(job.number) if each.cmdline()[-1] == str(job.scratch)]
        step.terminate()
    else:
        job.process.terminate()
    job.ends(143)
    assert "saved" in job.log
    assert (f"scontrol requeue {job.number}" in job.heard) is again


def test_the_command_fails_as_it_would_alone(submitted: Submit) -> None:
    job = submitted("bash", "-c", "exit 7")
    job.ends(7)
    assert "requeue" not in job.heard


@pytest.mark.parametrize(("address", "code"), [("env", 0), ('""', 2)])
def test_stages_that_would_not_look_for_the_cluster_are_refused(
    submitted: Submit, tmp_path: Path, address: str, code: int
) -> None:
    (tmp_path / "params.yaml").write_text(f"run:\n  address: {address}\n")
    job = submitted()
    job.ends(code)
    assert ("dvc repro" in job.log) is (code == 0)


# --- the folder on each node ------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [False, True])
def test_nobody_else_enters_the_folder_of_sockets_and_logs(submitted: Submit, earlier: bool) -> None:
    """What DVC unpickles is in there; what an earlier life of the job left is removed."""

    def left(scratch: Path) -> None:
        if earlier:
            (scratch / "old").mkdir(parents=True)
            scratch.chmod(0o777)

    job = submitted("looks", before=left)
    job.ends(0)
    assert job.log.split("mode ")[1].split() == ["700", "700", "700", "dvc"]
    assert not job.scratch.exists()


@pytest.mark.parametrize("kind", ["of another user", "a link", "a file"])
def test_a_folder_that_somebody_made_before_is_refused(kind: str, submitted: Submit, tmp_path: Path) -> None:
    if kind == "of another user" and os.getuid() != 0:
        pytest.skip("needs root to give a folder away")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").touch()

    def planted(scratch: Path) -> None:
        if kind == "a link":
            scratch.symlink_to(tmp_path / "target")
        elif kind == "a file":
            scratch.touch()
        else:
            scratch.mkdir(0o777)
            (scratch / "kept").touch()
            os.chown(scratch, 65534, 65534)

    job = submitted("bash", "-c", "true", before=planted)
    job.ends(2)
    assert "srun" not in job.heard
    assert job.scratch.is_file() if kind == "a file" else (job.scratch / "kept").exists()
