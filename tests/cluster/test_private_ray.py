"""A private Ray is private: its ports are open to the network, so that a token has to keep others out."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import clusters
import pytest
from answering import Request, answering

pytestmark = pytest.mark.slow

OWN = """
import contextlib
import sys
from pathlib import Path
import psutil
import ray
from pipeline.cluster.connect.session import session
from pipeline.cluster.connect.session import TOKEN
from pipeline.run.settings import RunSettings

for _ in range(2):  # a process may have one after the other
    with session(RunSettings(), 1):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                assert TOKEN not in " ".join(process.cmdline()), process
        folder = Path(ray._private.worker._global_node.get_session_dir_path())
        assert folder.parents[1].stat().st_mode & 0o777 == 0o700, folder
        print(ray.get_runtime_context().gcs_address, flush=True)
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
        sys.stdin.readline()
"""
STRANGER = """
import sys
import ray
ray.init(address=sys.argv[1], logging_level="CRITICAL")
print("joined")
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment that says nothing of Ray, and a home without a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_stranger_is_not_let_in_and_no_token_is_left(bare: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWN], env=bare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdin
        assert owner.stdout
        for credentials in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": secrets.token_hex(32)}):
            address = owner.stdout.readline().strip()
            said = join(address, {**bare, "RAY_AUTH_MODE": "token", **credentials})
            owner.stdin.write("\n")
            owner.stdin.flush()
            assert "joined" not in said, said
            assert f"Failed to connect to Ray cluster at {address}" in said, said
    assert owner.returncode == 0
    assert not (tmp_path / ".ray").exists()


HEADER = """
import sys
from pipeline.cluster.jobs import Jobs
Jobs(sys.argv[1])
"""


def test_a_private_ray_is_never_open(bare: dict[str, str]) -> None:
    """An environment in which a cluster without a token is joined opens no Ray of this machine."""
    for mode in ("disabled", "Disabled"):
        done = subprocess.run(
            [sys.executable, "-c", OWN],
            env={**bare, "RAY_AUTH_MODE": mode},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode != 0
        assert not done.stdout, "no address to join"
        assert "unset RAY_AUTH_MODE" in done.stderr


def test_a_ray_that_was_imported_open_is_refused(bare: dict[str, str]) -> None:
    late = "import os\nfrom ray._private.authentication.authentication_utils import"
    late += " is_token_auth_enabled\nis_token_auth_enabled()\nos.environ['RAY_AUTH_MODE'] = 'token'\n"
    done = subprocess.run(
        [sys.executable, "-c", late + OWN],
        env=bare,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert not done.stdout, "no address to join"
    assert "start this process again" in done.stderr


@pytest.mark.long
def test_an_empty_mode_is_no_mode(bare: dict[str, str]) -> None:
    """Ray takes it for disabled, whether it was imported before or not."""
    for before in ("", "import ray\n"):
        with subprocess.Popen(
            [sys.executable, "-c", before + OWN],
            env={**bare, "RAY_AUTH_MODE": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as owner:
            assert owner.stdout
            address = owner.stdout.readline().strip()
            said = join(address, {**bare, "RAY_AUTH_MODE": "disabled"})
            owner.communicate("\n\n")
        assert address
        assert "joined" not in said, said
        assert owner.returncode == 0


@pytest.mark.parametrize("place", ["home", "named"])
def test_a_token_in_a_file_is_enough(bare: dict[str, str], tmp_path: Path, place: str) -> None:
    token = secrets.token_hex(32)
    path = tmp_path / ".ray" / "auth_token" if place == "home" else tmp_path / "elsewhere"
    path.parent.mkdir(exist_ok=True)
    path.write_text(token)
    named = {} if place == "home" else {"RAY_AUTH_TOKEN_PATH": str(path)}
    seen: list[str | None] = []

    def listener(request: Request) -> tuple[int, str]:
        seen.append(request.headers["X-Ray-Authorization"] or request.headers["Authorization"])
        return 404, ""

    with answering(listener) as url:
        done = subprocess.run(
            [sys.executable, "-c", HEADER, url],
            env={**bare, **named},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode != 0
    assert seen == [f"Bearer {token}"], done.stderr


JOINS = """
import sys
from pipeline.cluster.connect.session import session
from pipeline.run.settings import RunSettings
import ray

with session(RunSettings(address=sys.argv[1])):
    print("nodes", len(ray.nodes()))
"""


def test_a_cluster_is_joined_with_a_token_in_a_file_alone(bare: dict[str, str], tmp_path: Path) -> None:
    with clusters.cluster(nodes=0) as cluster:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text((cluster.folder / "token").read_text())
        done = subprocess.run(
            [sys.executable, "-c", JOINS, cluster.address],
            env=bare,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "nodes 1" in done.stdout


def join(address: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-c", STRANGER, address]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr
