"""What a private Ray needs of a machine is mended or refused before it starts, in a sentence of what would do."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cluster.connect import machine
from pipeline.cluster.connect.session import session
from pipeline.errors import TrainingFailed, UserError
from pipeline.run.settings import RunSettings

STORE = 2**20
ODD = "my 'e\"nv' $x;(é#%20&)"


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path, the only one that is left but TMPDIR."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="zs", dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setattr(machine, "_places", lambda: [Path(name)])
        yield Path(name)


def test_rays_files_are_in_a_folder_that_nobody_else_enters(short: Path) -> None:
    with machine.prepared(STORE) as found:
        folder = Path(found.folder or "")
        assert folder.parent.parent == short
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        assert found.store is None
    assert not folder.parent.exists()
    assert not (short / "ray").exists(), "Ray's usual folder is open to everybody"


@pytest.mark.parametrize("kind", ["long", "odd", "a file", "not here", "relative"])
def test_a_place_that_does_not_serve_is_passed_over(kind: str, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's folders for temporary files are too long for sockets."""
    place = {
        "long": short / ("x" * 60),
        "odd": short / ODD,
        "a file": short / "file",
        "not here": Path("/proc/nowhere"),
        "relative": Path("tmp"),
    }[kind]
    if kind == "a file":
        place.write_text("")
    elif kind in {"long", "odd"}:
        place.mkdir()
    monkeypatch.setattr(machine, "_places", lambda: [place, short])
    with machine.prepared(STORE) as found:
        folder = Path(found.folder or "")
        assert folder.parent.parent == short
        assert len(os.fsencode(folder / machine.SOCKETS)) <= machine.LONGEST
        assert machine.unfit(folder) is None
    assert not folder.parent.exists()


def test_the_places_that_a_user_names_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "b"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "a"))
    assert machine._places()[:2] == [tmp_path / "a", tmp_path / "b"]


def test_where_no_folder_serves_it_is_said_at_once(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_places", lambda: [Path("/proc"), short / "missing", short / ("y" * 99)])
    with (
        pytest.raises(UserError, match=r"Ray cannot start: .*/proc cannot be used .*name in TMPDIR a short one"),
        session(RunSettings()),
    ):
        pass


def test_a_full_disk_is_not_taken(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**20}))
    assert machine.unfit(short / "ray") == "has 1 MiB free, and 64 are needed"


def test_what_killed_runs_left_is_swept_and_what_lives_is_not(short: Path) -> None:
    left, other = short / f"{machine.PREFIX}left", short / "other"
    (left / "ray").mkdir(parents=True)
    other.mkdir()
    with machine._own_folder(0) as living:
        for each in (left, living):
            os.utime(each, (time.time() - 999,) * 2)
        with machine._own_folder(0):
            assert living.is_dir()
    assert [path for path in short.iterdir() if path.name != "ray"] == [other]


def test_a_python_whose_path_a_shell_would_read_is_called_by_another(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray joins the path unquoted into `bash -c`."""
    environment = tmp_path / ODD
    environment.symlink_to(Path(sys.executable).parent.parent, target_is_directory=True)
    python = str(environment / "bin" / Path(sys.executable).name)
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr(sys, "path", [str(environment / "lib"), "", "/elsewhere"])
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with machine.prepared(STORE):
        assert sys.executable.startswith(str(short))
        told = subprocess.run(
            ["bash", "-c", f"exec {sys.executable} -c 'import sys; print(sys.prefix)'"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert sys.executable == f"{told.stdout.strip()}/bin/{Path(python).name}", "the same environment"
        assert sys.path == [f"{told.stdout.strip()}/lib", "", "/elsewhere"]
    assert (sys.executable, sys.path[0]) == (python, str(environment / "lib"))


def test_without_shared_memory_the_store_is_in_our_folder(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SHARED_MEMORY", Path("/proc/nowhere"))
    with machine.prepared(STORE) as found:
        assert Path(found.store or "").parent == short


def test_limits_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2**20, 2**20))
    with pytest.raises(UserError, match=r"files of 1 MiB at most.*ulimit -f unlimited"), session(RunSettings()):
        pass


def test_a_machine_that_does_not_reach_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **more: object) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(UserError, match=r"does not reach itself at 127\.0\.0\.1 \(Network is unreachable\)"):
        machine.prepared(STORE).__enter__()


# --- what Ray says ----------------------------------------------------------------------------

# Real texts of Ray 2.60: `ulimit -n 32`; `ulimit -f 100`.
TOO_FEW_FILES = """[symbolize_elf.inc : 1012] RAW: /proc/self/task/23161/maps: errno=24
[2026-11-30 03:17:59,036 E 23161 23166] (gcs_server) logging.cc:118: Unhandled exception: N5boost10wrapexceptINS_6system12system_errorEEE. what(): eventfd_select_interrupter: Too many open files [system:24] /lib/gcs_server(+0x14c484c)
/lib/ray/core/src/ray/gcs/gcs_server(+0x14c484c) [0x5624ea5f684c]
/lib/x86_64-linux-gnu/libstdc++.so.6(+0xa8e1a) [0x7f6ceeaa8e1a]
[2026-11-30 03:17:59,036 E 23161 23166] (gcs_server) logging.cc:474: *** SIGABRT received at time=1796008679 on cpu 0 ***
[2026-11-30 03:17:59,036 E 23161 23166] (gcs_server) logging.cc:474: PC: @     0x7f6cee8a8eec  (unknown)  (unknown)
    @     0x7f6cee466310  (unknown)  (unknown)
"""  # noqa: E501
TIMED_OUT = (
    "The current node timed out during startup. This could happen because some of the raylet failed to startup or the "
    "GCS has become overloaded."
)


def test_stacks_are_left_out_of_the_last_words(tmp_path: Path) -> None:
    (tmp_path / "gcs_server.err").write_text(TOO_FEW_FILES)
    (tmp_path / "raylet.out").write_text("[2026-11-30 03:17:59,036 I 1 2] (raylet) main.cc:1: all is well\n")
    words = machine.last_words(tmp_path)
    assert len(words) == 1
    assert "Too many open files" in words[0]
    (tmp_path / "gcs_server.err").unlink()
    assert machine.last_words(tmp_path) == ["[2026-11-30 03:17:59,036 I 1 2] (raylet) main.cc:1: all is well"]
    assert machine.last_words(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (TOO_FEW_FILES, "ulimit -n 4096"),
        ("[Errno 11] Resource temporarily unavailable", "ulimit -u"),
        ("can't start new thread", "run.num_workers"),
        ("terminate called after throwing 'std::system_error' what(): Resource temporarily unavailable", "ulimit -u"),
        ("OSError: [Errno 28] No space left on device: '/tmp/ray/session'", "free some space"),
        ("The requested object store memory size is greater than the total available memory.", "too little memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "too little memory"),
        ("bind: Address already in use", "a port that Ray asks for is taken"),
        (
            "validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /x/sockets/plasma_store",
            "a short one in TMPDIR",
        ),
        ("[Errno 13] Permission denied: '/tmp/ray/session_2026'", "name one in TMPDIR that is yours"),
    ],
)
def test_known_reasons_come_with_what_would_do(said: str, advice: str) -> None:
    assert advice in (machine.reason(said, []) or "")
    assert advice in (machine.reason(TIMED_OUT, said.splitlines()) or ""), "from the logs alike"


def test_what_is_not_known_is_quoted_from_the_logs(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the start is tried once more; a known reason would come again, and ends it at once."""
    starts: list[object] = []
    told = "[2026-11-30 03:17:59,036 E 1 2] (raylet) a.cc:1: the moon is wrong\n"

    def init(**settings: object) -> None:
        starts.append(settings)
        logs = Path(str(settings["_temp_dir"])) / f"session_2026-11-30_03-17-58_969768_{os.getpid()}" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "raylet.err").write_text(told)
        raise Exception(TIMED_OUT)

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with pytest.raises(TrainingFailed) as failed:
        session(RunSettings()).__enter__()
    assert len(starts) == 2
    assert str(failed.value).splitlines()[-1].endswith("the moon is wrong")
    (copy,) = short.glob(f"{machine.LOGS}*")
    assert str(copy) in str(failed.value)
    assert (copy / "raylet.err").read_text() == told
    assert copy.stat().st_mode & 0o777 == 0o700, "its owner's alone"
    told = TOO_FEW_FILES
    with pytest.raises(UserError, match="ulimit -n 4096"):
        session(RunSettings()).__enter__()
    assert len(starts) == 3


def test_the_logs_of_our_own_folder_outlive_it(short: Path) -> None:
    logs = short / f"{machine.PREFIX}a" / "ray" / "session_1_2" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.err").write_text("why")
    copy = machine.kept(logs)
    assert (copy / "raylet.err").read_text() == "why"
    assert machine.PREFIX not in str(copy)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\n"
            "This process on 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n",
            "it has Ray 2.9.0 and Python 3.10.1, and this environment Ray 2.60.0 and Python 3.11.7; make them the same",
        ),
        ("Failed to connect to Ray cluster at 192.0.2.2:6399", "it answers and does not take this process in"),
        (
            "Unauthenticated: RPC error: InvalidAuthToken: Authentication token is missing",
            "it answers and does not take",
        ),
        ("it is on fire\nand more", "it is on fire"),
    ],
)
def test_why_a_cluster_is_not_joined(said: str, sentence: str) -> None:
    assert machine.unjoined(said).startswith(sentence)
