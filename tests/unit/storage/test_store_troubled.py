"""A store behind a bad way: what fails for a while is asked for again, and what fails for good is said."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import objects
import pytest
import troubled

from pipeline.errors import UserError
from pipeline.storage import filesystems
from pipeline.storage import store as module
from pipeline.storage.store import Store

pytestmark = pytest.mark.slow


class Plan(troubled.Trouble):
    """What happens to the next requests, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.next: list[str] = []

    def strike(self) -> str:
        return self.next.pop(0) if self.next else ""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Plan, str]]:
    plan = Plan()
    with objects.troubled_s3(plan) as uri:
        yield plan, uri


@pytest.mark.parametrize(("kind", "size"), [*((kind, 80) for kind in troubled.ERRORS), ("500", 1), ("cut", 300_000)])
def test_a_read_outlives_an_error(kind: str, size: int, served: tuple[Plan, str], tmp_path: Path) -> None:
    """Also of an object that is smaller than the error's text, where AWS's library itself gives up."""
    plan, uri = served
    data = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    store = Store(uri)
    key = store.push(tmp_path, ["file"])
    plan.next = ["", "", "", "", kind]  # the bundle is looked for, sized and read, and the file is sized
    store.pull(key, tmp_path / "pulled")
    assert (tmp_path / "pulled" / "file").read_bytes() == data
    assert plan.next == []


@pytest.mark.parametrize("kind", troubled.ERRORS)
def test_a_write_outlives_an_error(kind: str, served: tuple[Plan, str]) -> None:
    """Whether or not it was carried out before the error."""
    plan, uri = served
    store = Store(uri)
    plan.next = [kind]
    store.write("document.json", {"kind": kind})
    assert plan.next == []
    assert store.read("document.json") == {"kind": kind}


@pytest.mark.parametrize("kind", ["500", "503", "lost"])
def test_a_large_write_outlives_an_error_at_its_end(kind: str, served: tuple[Plan, str], tmp_path: Path) -> None:
    """It is sent in parts, and what fails is putting them together."""
    plan, uri = served
    data = random.Random(kind).randbytes(12_000_000)
    (tmp_path / "file").write_bytes(data)
    plan.next = ["", "", "", "", kind, kind]  # looked for, begun, and two parts
    key = Store(uri).push(tmp_path, ["file"])
    assert plan.next == []
    Store(uri).pull(key, tmp_path / "pulled")
    assert (tmp_path / "pulled" / "file").read_bytes() == data


def test_a_store_that_falls_silent(served: tuple[Plan, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is given up after a limit, not when the server hangs up."""
    import time

    plan, uri = served
    plan.silence = 40
    monkeypatch.setattr(filesystems, "REQUEST", 2)
    (tmp_path / "file").write_bytes(bytes(50_000))
    store = Store(uri)
    key = store.push(tmp_path, ["file"])
    plan.next = ["", "", "", "", "silent"]
    started = time.monotonic()
    store.pull(key, tmp_path / "pulled")
    assert time.monotonic() - started < 30
    assert plan.next == []


@pytest.mark.parametrize("kind", troubled.GONE)
def test_a_store_that_is_away_for_good(kind: str, served: tuple[Plan, str], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, uri = served
    for each in (module, filesystems):
        monkeypatch.setattr(each, "ATTEMPTS", 2)
    store = Store(uri)
    plan.next = [kind] * 50
    with pytest.raises(UserError, match="does not answer for document"):
        store.write("document.json", {})
    plan.next = []


def test_what_a_killed_client_had_half_sent_changes_nothing(served: tuple[Plan, str]) -> None:
    """As at S3, where an object is whole or not there."""
    plan, uri = served
    plan.next = []
    Store(uri).write("whole.json", {"bundle": "a"})
    host, _, port = unquote(uri.split("endpoint_override=")[1]).partition(":")
    path = uri.removeprefix("s3:/").partition("?")[0]
    chunked = "Transfer-Encoding: chunked\r\n\r\n"
    for head in ("Content-Length: 100\r\n\r\n{", f"{chunked}64\r\n{{", chunked):
        with socket.create_connection((host, int(port))) as line:
            line.sendall(f"PUT {path}/whole.json HTTP/1.1\r\nHost: {host}\r\n{head}".encode())
            line.shutdown(socket.SHUT_WR)
            assert line.recv(100) == b""
    assert Store(uri).read("whole.json") == {"bundle": "a"}
