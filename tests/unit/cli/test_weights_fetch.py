from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from inceptions import random_state
from safetensors.torch import load_file

from pipeline.assets import inception
from pipeline.cli import main, weights
from pipeline.errors import UserError
from pipeline.networks.architectures.inception import fold
from pipeline.storage.download import Download

pytestmark = pytest.mark.slow  # whole sets of weights are built, and sent over a socket


class Server:
    """One file over real HTTP, with faults to order; `asked` keeps the Range of every request."""

    def __init__(self) -> None:
        self.content = b""
        self.cut: list[int] = []  # of each answer in turn: bytes sent before the connection is dropped
        self.status = 200
        self.ranges = True
        self.lengths = True
        self.asked: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/net.pth"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers["Range"]
        self.asked.append(asked)
        if self.status != 200:
            request.send_error(self.status)
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if begin and begin >= len(self.content):
            request.send_error(416)
            return
        body = self.content[begin:]
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        if self.lengths:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cut.pop(0)] if self.cut else body)
        request.close_connection = True

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Generator[Server, None, None]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def public() -> bytes:
    """A whole random network as the public file holds one."""
    file = io.BytesIO()
    torch.save(random_state(), file)
    return file.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def patient(url: str, wanted: str) -> Download:
    return Download(url, wanted, attempts=3, pause=0.0, timeout=5.0)


def once(url: str, wanted: str) -> Download:
    return Download(url, wanted, attempts=1, pause=0.0, timeout=5.0)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# --- the download -----------------------------------------------------------------------------


def test_a_file_arrives_whole_with_progress(server: Server, tmp_path: Path) -> None:
    server.content = os.urandom(3 << 20)
    seen: list[tuple[int, int | None]] = []
    once(server.url, sha256(server.content)).to(tmp_path / "f", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "f").read_bytes() == server.content
    assert seen[-1] == (3 << 20, 3 << 20)
    assert leftovers(tmp_path) == ["f"]


def test_a_truncated_one_is_kept_and_gone_on_from(server: Server, tmp_path: Path) -> None:
    server.content, server.cut = os.urandom(5000), [2000]
    with pytest.raises(UserError, match=r"ended after 2,000 of 5,000 bytes\); 2,000 bytes are kept, run it again"):
        once(server.url, sha256(server.content)).to(tmp_path / "f")
    assert leftovers(tmp_path) == ["f.part"]
    once(server.url, sha256(server.content)).to(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.content
    assert server.asked == [None, "bytes=2000-"]


def test_it_tries_again_by_itself(server: Server, tmp_path: Path) -> None:
    server.content, server.cut = os.urandom(5000), [100, 300]
    patient(server.url, sha256(server.content)).to(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.content
    assert server.asked == [None, "bytes=100-", "bytes=400-"]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.content, server.cut, server.ranges = os.urandom(5000), [2000], False
    patient(server.url, sha256(server.content)).to(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.content


def test_a_server_without_lengths_is_held_to_the_sha256(server: Server, tmp_path: Path) -> None:
    server.content, server.cut, server.lengths = os.urandom(5000), [2000], False
    with pytest.raises(UserError, match="it is another file"):
        once(server.url, sha256(server.content)).to(tmp_path / "f")


def test_a_wrong_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>sign in to this network</html>"
    with pytest.raises(UserError, match=r"sent 36 bytes with sha256 \w{16}…, and aaaaaaaaaaaaaaaa… is wanted"):
        once(server.url, "a" * 64).to(tmp_path / "f")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("stale", [100, 5000, 9000])
def test_a_stale_beginning_is_thrown_away(server: Server, tmp_path: Path, stale: int) -> None:
    server.content = os.urandom(5000)
    (tmp_path / "f.part").write_bytes(bytes(stale))
    once(server.url, sha256(server.content)).to(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.content


def test_a_whole_part_needs_no_more_bytes(server: Server, tmp_path: Path) -> None:
    server.content = os.urandom(5000)
    (tmp_path / "f.part").write_bytes(server.content)
    once(server.url, sha256(server.content)).to(tmp_path / "f")
    assert server.asked == ["bytes=5000-"]


def test_a_server_that_is_gone_is_said(server: Server, tmp_path: Path) -> None:
    gone = Server()
    gone.stop()
    with pytest.raises(UserError, match=r"could not be fetched \(.*refused\); run it again later"):
        patient(gone.url, "a" * 64).to(tmp_path / "f")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 3)])
def test_a_refusal_is_said_and_a_tired_server_asked_again(
    server: Server, tmp_path: Path, status: int, requests: int
) -> None:
    server.status = status
    with pytest.raises(UserError, match=f"the server answers {status}"):
        patient(server.url, "a" * 64).to(tmp_path / "f")
    assert len(server.asked) == requests


def test_endless_answers_are_left(server: Server, tmp_path: Path) -> None:
    server.content = bytes(5000)
    for lengths in (True, False):
        server.lengths = lengths
        with pytest.raises(UserError, match="more than 4,000 "):
            Download(server.url, "a" * 64, attempts=1, limit=4000).to(tmp_path / "f")
    assert leftovers(tmp_path) == []


# --- the weights ------------------------------------------------------------------------------


def test_they_are_fetched_converted_and_accounted_for(server: Server, public: bytes, tmp_path: Path) -> None:
    server.content = public
    wanted = sha256(public)
    fetched = weights.fetch("inception", server.url, tmp_path, wanted, once)
    assert fetched == weights.Fetched(tmp_path / f"inception-of-{wanted[:8]}.safetensors", new=True)
    expected = fold(random_state())
    found = load_file(fetched.path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert leftovers(tmp_path) == [fetched.path.with_suffix(".json").name, fetched.path.name]
    account = json.loads(fetched.path.with_suffix(".json").read_bytes())
    assert account["source_sha256"] == wanted
    assert account["sha256"] == sha256(fetched.path.read_bytes())
    assert inception.load(fetched.path, 2048).published is False

    # The second time nothing is asked of anybody; a damaged file is made again, in the same bytes.
    before = fetched.path.read_bytes()
    assert weights.fetch("inception", server.url, tmp_path, wanted, once) == weights.Fetched(fetched.path, new=False)
    assert len(server.asked) == 1
    fetched.path.write_bytes(before[:-1])
    assert weights.fetch("inception", server.url, tmp_path, wanted, once).new
    assert fetched.path.read_bytes() == before


def test_the_public_file_is_pinned_and_named_for_what_it_is(
    server: Server, public: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inception.Asset.url.endswith(f"-{inception.Asset.sha256[:8]}.pth")
    server.content = public
    with pytest.raises(UserError, match="and 6726825d0af5f729… is wanted"):
        weights.fetch("inception", server.url, tmp_path, download=once)
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inception.Asset, "sha256", sha256(public))
    fetched = weights.fetch("inception", server.url, download=once)
    assert fetched.path == inception.resolve("auto")


def test_a_file_of_one_s_own_will_do(public: bytes, tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(public)
    assert weights.fetch("inception", str(own), tmp_path / "to", sha256(public)).new
    assert own.read_bytes() == public
    with pytest.raises(UserError, match="it has sha256"):
        weights.fetch("inception", str(own), tmp_path / "to")
    with pytest.raises(UserError, match="no such file"):
        weights.fetch("inception", str(tmp_path / "none.pth"), tmp_path / "to")
    with pytest.raises(UserError, match="only https://, http:// and files"):
        weights.fetch("inception", "ftp://host/net.pth", tmp_path / "to")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc.bias": Evil()}, "is no plain state dict and was not loaded"),
        ({"layer1.weight": torch.zeros(2)}, "is not the FID Inception network: it holds layer1.weight"),
        ([torch.zeros(2)], "holds a list, not a state dict"),
        (
            {n: t for n, t in random_state().items() if n < "Mixed_6f" and n[0] != "f"},
            "lacks Mixed_7a, Mixed_7b, Mixed",
        ),
    ],
)
def test_what_is_no_such_network_is_refused_even_with_the_right_hash(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    torch.save(content, file)
    server.content = file.getvalue()
    with pytest.raises(UserError, match=message):
        weights.fetch("inception", server.url, tmp_path / "to", sha256(server.content), once)
    assert leftovers(tmp_path / "to") == []
    assert not (tmp_path / "pwned").exists()


def test_names_and_hashes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights called 'incepton'; did you mean 'inception'"):
        weights.fetch("incepton", None, tmp_path)
    with pytest.raises(UserError, match="--sha256 67: must be 64"):
        weights.fetch("inception", None, tmp_path, "67")


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to"):
        weights.fetch("inception", None, tmp_path / "file", "a" * 64)


def test_the_command(
    server: Server, public: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = public
    arguments = ["weights", "fetch", "inception", "--from", server.url, "--to", str(tmp_path / "my, #1")]
    monkeypatch.setattr("sys.argv", ["zerosum", *arguments, "--sha256", sha256(public)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"written: {tmp_path}")
    extractor = yaml.safe_load(said[1].removeprefix("use it as reference.extractor: "))
    assert extractor["name"] == "inception"
    assert Path(extractor["weights"]).is_file()
    monkeypatch.setattr("sys.argv", ["zerosum", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert "is wanted" in capsys.readouterr().err
