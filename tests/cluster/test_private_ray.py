"""A private Ray is private: its ports are open to the network, so that a token has to keep others out."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

OWN = """
import sys
import ray
from pipeline.cluster.session import session
from pipeline.cluster.settings import RunSettings

for _ in range(2):  # a process may have one after the other
    with session(RunSettings(), 1):
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


def join(address: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-c", STRANGER, address]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr
