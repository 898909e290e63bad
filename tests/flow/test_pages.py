"""`make ui`: MLflow's pages for this machine alone, and nothing that runs jobs beside them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
UP = 120  # seconds


@pytest.mark.slow
def test_the_pages_are_for_this_machine_and_run_no_jobs(tmp_path: Path) -> None:
    told = subprocess.run(
        ["make", "-n", "-o", ".venv/ready", "ui"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (line,) = [line for line in told.splitlines() if "mlflow server" in line]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "5000" in line
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec env {line.replace('5000', str(port))}"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + UP
        while not _is_up(port):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.5)
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        running = [" ".join(each.cmdline()) for each in family]
        assert any("uvicorn" in command or "mlflow" in command for command in running), running
        assert not [command for command in running if "huey" in command or "job" in command.partition("--")[0]]
        heard = {
            connection.laddr.ip
            for each in family
            for connection in each.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert heard == {"127.0.0.1"}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(20)


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False
