"""What a server, or somebody with access to the folder, can make a download do: nothing but fail."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.storage.download import Download, _Redirects

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Answers with CONTENT, or a redirect; keeps every request's Authorization by path."""

    def __init__(self) -> None:
        self.redirects: dict[str, str] = {}
        self.heard: dict[str, str | None] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.heard[self.path] = self.headers["Authorization"]
                if target := server.redirects.get(self.path):
                    self.send_response(302)
                    self.send_header("Location", target)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()
        self.host = f"127.0.0.1:{self.http.server_port}"

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def servers() -> Generator[Callable[[], Server]]:
    made: list[Server] = []

    def make() -> Server:
        made.append(Server())
        return made[-1]

    yield make
    for server in made:
        server.stop()


def fetch(url: str, path: Path) -> None:
    Download(url, SHA256, attempts=1, pause=0.0, timeout=5.0).to(path)


def test_a_login_is_sent_to_its_host_and_to_no_other(servers: Callable[[], Server], tmp_path: Path) -> None:
    first, second = servers(), servers()
    first.redirects["/a"] = f"http://{second.host}/b"

    fetch(f"http://ann:p%40ss@{first.host}/a", tmp_path / "w")

    assert first.heard == {"/a": "Basic " + base64.b64encode(b"ann:p@ss").decode()}
    assert second.heard == {"/b": None}
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://127.0.0.1/"])
def test_a_redirect_leads_to_the_web_alone(servers: Callable[[], Server], tmp_path: Path, target: str) -> None:
    server = servers()
    server.redirects["/a"] = target

    with pytest.raises(UserError):
        fetch(f"http://{server.host}/a", tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_does_not_give_up_encryption() -> None:
    import urllib.request

    request = urllib.request.Request("https://user:sentinel12@host/a?sig=sentinel12")
    with pytest.raises(UserError) as refused:
        _Redirects().redirect_request(request, None, 302, "", {}, "http://host/b?sig=sentinel34")
    assert "sentinel" not in str(refused.value)


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_a_planted_link_is_not_written_through(
    servers: Callable[[], Server], tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "cache"
    folder.mkdir()
    plant(folder / "w.part", victim)

    fetch(f"http://{servers().host}/a", folder / "w")

    assert victim.read_bytes() == b"precious"
    assert (folder / "w").read_bytes() == CONTENT


def test_no_message_holds_a_login_or_a_signature(servers: Callable[[], Server], tmp_path: Path) -> None:
    url = f"http://ann:sentinel12@{servers().host}/a?sig=sentinel12&X-Amz-Signature=sentinel34"

    with pytest.raises(UserError) as refused:
        Download(url, "0" * 64, attempts=1).to(tmp_path / "w")
    assert "sentinel" not in str(refused.value)
    with pytest.raises(UserError) as gone:
        Download("http://ann:sentinel12@127.0.0.1:9/a?sig=sentinel12", SHA256, attempts=1).to(tmp_path / "w")
    assert "sentinel" not in str(gone.value)
