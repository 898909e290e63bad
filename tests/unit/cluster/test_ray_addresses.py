"""What `run.address` is read as, and what is refused before anything is sent anywhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import addresses
from pipeline.cluster.addresses import Address
from pipeline.cluster.settings import RunSettings
from pipeline.settings import SettingsError, UserError, validate

RAY = version("ray")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Address("private")),
        ("10.0.0.5:6379", Address("join", "10.0.0.5:6379")),
        ("[::1]:6379", Address("join", "[::1]:6379")),
        ("http://head:8265", Address("submit", "http://head:8265")),
        ("https://ray.example.org/", Address("submit", "https://ray.example.org")),
        ("head", None),
        ("head:0", None),
        ("http://", None),
        ("http://head:99999", None),
        ("http://user@head:8265", None),
        ("ray://head:10001", None),
    ],
)
def test_forms(text: str, expected: Address | None) -> None:
    assert addresses.parse(text) == expected


def test_only_env_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    assert addresses.resolve("") == Address("private")
    assert addresses.resolve("other:1") == Address("join", "other:1")
    assert addresses.resolve("env") == Address("submit", "http://head:8265")
    for value, said in (("", "is not set"), ("auto", "is 'auto', which is no address")):
        monkeypatch.setenv("RAY_ADDRESS", value)
        with pytest.raises(UserError, match=f"env follows RAY_ADDRESS, which {said}"):
            addresses.resolve("env")


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    assert addresses.is_loopback(url) == loopback


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"address": "http://h:1"}, "'.work' is a folder of this project, which jobs at http://h:1 cannot reach"),
        ({"storage": "gs://bucket"}, "'gs://bucket' is of no kind that is known"),
        ({"num_workers": [4, 1]}, "[4, 1] is no range; it must be [least, most], such as [1, 4]"),
        ({"num_workers": [1, 4], "max_failures": 0}, "0 ends a training at the first lost worker"),
    ],
)
def test_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        validate(RunSettings, keys, "run")
    assert said in str(refused.value)


def test_workers() -> None:
    fixed, moving = RunSettings(num_workers=3), RunSettings(num_workers=(1, 4))
    assert (fixed.least_workers, fixed.most_workers, fixed.elastic) == (3, 3, False)
    assert (moving.least_workers, moving.most_workers, moving.elastic) == (1, 4, True)


# --- a dashboard, as far as looking at it goes ----------------------------------------------------


@contextmanager
def dashboard(status: int, data: dict[str, str]) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"result": True, "data": data}).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from pipeline.cluster import jobs

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    return jobs


@pytest.mark.slow  # for what they import, all three
@pytest.mark.parametrize(
    ("status", "data", "said"),
    [
        (401, {}, "asks for a token, and yours is not here: name the head's in RAY_AUTH_TOKEN_PATH"),
        (404, {}, r"is no Ray dashboard \(it answers 404\)"),
        (200, {"rayVersion": "2.50.0", "pythonVersion": "3.11.7"}, f"runs Ray 2.50.0, and this is {RAY}"),
        (200, {"rayVersion": RAY, "pythonVersion": "3.9.1"}, r"runs Python 3\.9\.1, and this is 3\.11"),
    ],
)
def test_a_cluster_that_will_not_do(status: int, data: dict[str, str], said: str, jobs: Any) -> None:
    with dashboard(status, data) as url, pytest.raises(UserError, match=said):
        jobs.Jobs(url)


@pytest.mark.slow
def test_a_cluster_that_is_open_to_all(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(url: str) -> bool:
        return False

    monkeypatch.setattr(jobs, "is_loopback", elsewhere)
    with dashboard(200, {}) as url, pytest.raises(UserError, match="answers without a token"):
        jobs.Jobs(url)


@pytest.mark.slow
def test_nobody_there(jobs: Any) -> None:
    with pytest.raises(UserError, match=r"no Ray dashboard answers at http://127\.0\.0\.1:1"):
        jobs.Jobs("http://127.0.0.1:1")
