"""An HTTP server of files on loopback, as hubs and buckets are: ETags, ranges, and ends that come too early."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Served:
    """files: content by path. asked: (method, path, range) of each request, in order.

    cut: bytes after which an answer ends, once. silent: nothing is said but the length. no_head: HEAD is refused.
    """

    files: dict[str, bytes]
    asked: list[tuple[str, str, str]] = field(default_factory=lambda: [])
    cut: int | None = None
    silent: bool = False
    no_head: bool = False
    url: str = ""

    @property
    def fetched(self) -> list[str]:
        """The paths that were asked for with their content."""
        return [path for method, path, _ in self.asked if method == "GET"]


@contextmanager
def serving(files: dict[str, bytes]) -> Generator[Served]:
    """While it lasts, each file is at `url` and its path."""
    served = Served(files)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

        def do_HEAD(self) -> None:
            self.reply(head=True)

        def do_GET(self) -> None:
            self.reply(head=False)

        def reply(self, head: bool) -> None:
            path = self.path.partition("?")[0]
            served.asked.append((self.command, path, self.headers["Range"] or ""))
            data = served.files.get(path)
            if data is None or (head and served.no_head):
                self.send_error(404 if data is None else 405)
                return
            etag, begin = f'"{hashlib.md5(data).hexdigest()}"', 0
            wanted = self.headers["Range"]
            if wanted and self.headers["If-Range"] in (None, etag) and not served.silent:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            if not served.silent:
                self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            if head:
                return
            end, served.cut = (len(data) if served.cut is None else served.cut), None
            self.wfile.write(data[begin:end])
            if end < len(data):
                self.close_connection = True

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
