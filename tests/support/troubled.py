"""A bad way to an S3 server: a proxy that errs, drops, loses, cuts, dribbles and falls silent, by a seed."""

from __future__ import annotations

import http.client
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# 500 and 503: S3's InternalError and SlowDown. dropped: the line goes dead before the request is heard. lost: the
# request is carried out, and its answer never comes. cut: half of the answer. slow: the answer by dribs and drabs.
# silent: half of the answer, then nothing for long.
ERRORS = ("500", "503", "dropped", "lost", "cut")
SLOW = ("slow",)
GONE = ("503", "dropped")
CODES = {"500": ("InternalError", "We encountered an internal error"), "503": ("SlowDown", "Reduce your request rate")}
OWN = {"connection", "keep-alive", "transfer-encoding", "proxy-connection"}  # each connection's own headers


@dataclass
class Trouble:
    """What becomes of a share of the requests. May be changed while the proxy runs; `calm` at first."""

    seed: str = "0"
    kinds: tuple[str, ...] = ()
    share: float = 0.0
    slowness: float = 1.0  # seconds for a slow answer
    silence: float = 30.0  # seconds that a silent one stays silent
    struck: Counter[str] = field(default_factory=lambda: Counter())
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, kinds: tuple[str, ...], share: float) -> None:
        self.kinds, self.share = kinds, share

    def calm(self) -> None:
        self.kinds = ()

    def strike(self) -> str:
        """What happens to the next request, in the order of their coming; empty = nothing."""
        with self._lock:
            self._count += 1
            chance = random.Random(f"{self.seed}/{self._count}")
            kinds = self.kinds
            found = chance.choice(kinds) if kinds and chance.random() < self.share else ""
            if found:
                self.struck[found] += 1
            return found


@contextmanager
def proxy(host: str, port: int, trouble: Trouble) -> Iterator[int]:
    """The port, on 127.0.0.1, of a way to the server at host:port."""

    class Handler(_Handler):
        pass

    Handler.upstream, Handler.trouble = (host, port), trouble
    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        trouble.calm()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or gave up, is no error of the proxy's."""
        if not isinstance(sys.exception(), OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    upstream: tuple[str, int]
    trouble: Trouble

    def log_message(self, format: str, *args: Any) -> None:
        """Every request in the console would be nobody's business."""

    def _serve(self) -> None:
        body, kind = self._body(), self.trouble.strike()
        # A client that was killed while it sent has asked for nothing, as at S3.
        if body is None or kind == "dropped":
            self._hang_up()
            return
        if kind in CODES:
            code, message = CODES[kind]
            content = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            self._answer(int(kind), code, [("Content-Type", "application/xml")], content)
            return
        status, reason, headers, content = self._asked(body)
        if kind == "lost":
            self._hang_up()
        elif kind in ("cut", "silent"):
            self._answer(status, reason, headers, content, sent=len(content) // 2)
            if kind == "silent":
                time.sleep(self.trouble.silence)
            self._hang_up()
        else:
            self._answer(status, reason, headers, content, seconds=self.trouble.slowness if kind == "slow" else 0)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes | None:
        """What came, None where it is not all of it."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            length = int(self.headers.get("Content-Length") or 0)
            found = self.rfile.read(length)
            return found if len(found) == length else None
        found = bytearray()
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            piece = self.rfile.read(size)
            if len(piece) < size:
                return None
            found += piece
            self.rfile.readline()
        return bytes(found) if self.rfile.readline() else None

    def _asked(self, body: bytes) -> tuple[int, str, list[tuple[str, str]], bytes]:
        """The server's answer: status, reason, headers, body."""
        line = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            kept = {name: value for name, value in self.headers.items() if name.lower() not in {*OWN, "expect"}}
            line.request(self.command, self.path, body=body, headers={**kept, "Content-Length": str(len(body))})
            answer = line.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in OWN]
            return answer.status, answer.reason, headers, answer.read()
        finally:
            line.close()

    def _answer(
        self,
        status: int,
        reason: str,
        headers: list[tuple[str, str]],
        content: bytes,
        sent: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        """The answer, of whose body only `sent` bytes go out, in pieces over so many seconds."""
        self.send_response_only(status, reason)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        # What HEAD describes is longer than what it sends.
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        if status not in (204, 304):
            self.send_header("Content-Length", lengths[0] if self.command == "HEAD" and lengths else str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            time.sleep(seconds)
            return
        kept = content if sent is None else content[:sent]
        piece = max(1, len(kept) // 8) if seconds else max(1, len(kept))
        for start in range(0, len(kept), piece):
            self.wfile.write(kept[start : start + piece])
            time.sleep(seconds / 8)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
