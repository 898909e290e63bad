"""An HTTP server on loopback that answers as a test says, for the length of a block."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was asked: `headers` as they were sent, looked up in any case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Answers = Callable[[Request], tuple[int, str] | None]


@contextmanager
def answering(answers: Answers) -> Generator[str]:
    """The server's URL. `answers` gives status and body; None closes the connection without a word."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = answers(Request(self.command, self.path, self.headers, body))
            if answer is None:
                self.close_connection = True
                return
            status, said = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(said.encode())))
            self.end_headers()
            self.wfile.write(said.encode())

        do_GET = do_PUT = do_POST = do_DELETE = reply

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
