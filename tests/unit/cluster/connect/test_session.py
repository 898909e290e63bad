"""An address where nothing answers is refused in seconds, in a sentence, before Ray is started."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from answering import Request, answering

from pipeline.cluster.connect.session import session
from pipeline.cluster.search.driver import rungs
from pipeline.cluster.training.launch import last_line
from pipeline.cluster.training.resources import use_cuda
from pipeline.errors import TrainingFailed, UserError
from pipeline.run.settings import RunSettings
from pipeline.search.settings import TuneSettings


def test_a_host_that_nobody_knows() -> None:
    address = "nowhere.invalid:6379"
    with pytest.raises(UserError, match="no Ray cluster answers at nowhere"), session(RunSettings(address=address)):
        pass


@pytest.mark.parametrize("says", ["a page", "nothing"])
def test_something_else_listens(says: str) -> None:
    def page(request: Request) -> tuple[int, str] | None:
        return (200, "welcome") if says == "a page" else None

    started = time.monotonic()
    with answering(page) as url, pytest.raises(UserError, match="is no Ray cluster"):
        session(RunSettings(address=url.removeprefix("http://"))).__enter__()
    assert time.monotonic() - started < 6


def test_a_port_that_nobody_listens_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        started = time.monotonic()
        run = RunSettings(address=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UserError, match="refused"), session(run):
            pass
    assert time.monotonic() - started < 10


def test_the_last_line_of_a_remote_error() -> None:
    text = "ray::worker()\n  File x\npipeline.errors.BrokenArtefact: shard 3: it is damaged\n"
    assert last_line(RuntimeError(text)) == "shard 3: it is damaged"
    assert last_line(RuntimeError()) == "RuntimeError"


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert not use_cuda(RunSettings(device="auto"))
    assert not use_cuda(RunSettings(device="cpu"))
    assert use_cuda(RunSettings(device="cuda", address="head:6379")), "the cluster may have what this machine lacks"
    with pytest.raises(UserError, match=r"run\.device: cuda is asked for"):
        use_cuda(RunSettings(device="cuda"))


def test_rungs() -> None:
    assert rungs(TuneSettings(examples=1000, first_rung=100, reduction=3)) == [100, 300, 900]
    assert rungs(TuneSettings(examples=100, first_rung=100)) == []


@contextmanager
def head() -> Iterator[str]:
    """Speaks the first words of gRPC, as a head does, to whoever comes; gone at the block's end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(64)
                connection.sendall(bytes(3) + b"\4" + bytes(5))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Closing alone would not wake the one who accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.fixture
def unjoined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that joins nothing."""
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


@pytest.mark.usefixtures("unjoined")
@pytest.mark.parametrize("error", [TrainingFailed("the workers failed"), UserError("a worker cannot read")])
def test_what_fails_for_want_of_a_head_says_so(error: Exception) -> None:
    with head() as address:
        run = RunSettings(address=address)
        with pytest.raises(type(error), match=str(error)), session(run):
            raise error
    with pytest.raises(TrainingFailed, match=r"the head of the cluster at 127.0.0.1:\d+ is gone; start one again"):
        lost(error)


def lost(error: Exception) -> None:
    with head() as address:
        beginning = session(RunSettings(address=address))
        beginning.__enter__()
    beginning.__exit__(type(error), error, error.__traceback__)


@pytest.mark.parametrize(("deaths", "starts"), [(0, 1), (1, 2), (2, 2)])
def test_a_private_ray_of_which_a_process_died_is_started_once_more(
    deaths: int, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray raises then is a bare Exception."""
    asked: list[object] = []

    def init(**settings: object) -> None:
        asked.append(settings["address"])
        if len(asked) <= deaths:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", init)
    if deaths == 2:
        with pytest.raises(TrainingFailed, match="Ray does not start: The current node timed out"):
            session(RunSettings()).__enter__()
    else:
        with session(RunSettings()):
            pass
    assert asked == ["local"] * starts


def test_any_other_error_of_rays_start_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**settings: object) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(KeyError, match="a mistake of ours"):
        session(RunSettings()).__enter__()
