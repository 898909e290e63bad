"""A file from the network: whole and of the right sha256, or not at all; an interrupted try is gone on from."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.settings import UserError

PIECE = 1 << 20
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Download:
    """Where from and what must come.

    attempts: tries before giving up, each going on where the last one ended, `pause` seconds longer apart
    each time. timeout: seconds of silence. limit: more bytes than this are refused.
    """

    url: str
    sha256: str
    attempts: int = 3
    pause: float = 1.0
    timeout: float = 30.0
    limit: int = 2**30

    def to(self, path: Path, progress: Progress = lambda done, total: None) -> None:
        """Fetch into `path`; bytes on their way are in `<path>.part`, which survives a failure.

        progress: bytes here so far, and in all where the server says.

        Raises:
            UserError: if the server refuses, is gone or falls silent, or what came is another file.
        """
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.is_file() and part.stat().st_size > 0
        self._complete(part, progress)
        found = _sha256(part)
        if found != self.sha256 and resumed:
            # The beginning may be of another try at another file: once more, from nothing.
            part.unlink()
            self._complete(part, progress)
            found = _sha256(part)
        if found != self.sha256:
            size = part.stat().st_size
            part.unlink()
            raise UserError(
                f"{self.url} sent {size:,} bytes with sha256 {found[:16]}…, and {self.sha256[:16]}… is wanted: "
                "it is another file, or something on the way changed it; nothing was kept"
            )
        part.replace(path)

    def _complete(self, part: Path, progress: Progress) -> None:
        for attempt in range(1, self.attempts + 1):
            try:
                self._once(part, progress)
            except urllib.error.HTTPError as error:
                # What is wrong with the request will be wrong again; a tired server may recover.
                if error.code < 500 or attempt == self.attempts:
                    raise UserError(f"{self.url}: the server answers {error.code} {error.reason}") from None
            except (OSError, http.client.HTTPException) as error:
                if attempt == self.attempts:
                    raise UserError(self._interrupted(part, error)) from None
            else:
                return
            time.sleep(self.pause * attempt)

    def _once(self, part: Path, progress: Progress) -> None:
        """One connection: append to `part` what it lacks; ConnectionError if it ends early."""
        have = part.stat().st_size if part.is_file() else 0
        request = urllib.request.Request(self.url, headers={"User-Agent": "zerosum"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            response: Any = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing comes after what is here; the sha256 will tell whether that is all
            raise
        with response:
            begin, total = _extent(response, have)
            if total is not None and total > self.limit:
                raise UserError(f"{self.url} is {total:,} bytes; more than {self.limit:,} are not fetched")
            self._append(response, part, begin, (total, progress))

    def _append(self, response: Any, part: Path, begin: int, extent: tuple[int | None, Progress]) -> None:
        total, progress = extent
        done = begin
        with part.open("ab" if begin else "wb") as file:
            while piece := response.read(PIECE):
                done += len(piece)
                if done > self.limit:
                    part.unlink()
                    raise UserError(f"{self.url} sends more than {self.limit:,} bytes; nothing was kept")
                file.write(piece)
                progress(done, total)
        if total is not None and done < total:
            raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")

    def _interrupted(self, part: Path, error: Exception) -> str:
        reason = getattr(error, "reason", None) or error
        said = f"{self.url} could not be fetched ({reason})"
        have = part.stat().st_size if part.is_file() else 0
        return f"{said}; {have:,} bytes are kept, run it again to go on" if have else f"{said}; run it again later"


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Where the answer's bytes begin, and how many the whole file has: 206 goes on, 200 starts over."""
    length = response.headers.get("Content-Length")
    if response.status == http.client.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found and int(found.group(1)) == have:
            return have, None if found.group(2) == "*" else int(found.group(2))
        raise ConnectionError("the server sends another range than was asked for")
    return 0, int(length) if length else None


def _sha256(path: Path) -> str:
    if not path.is_file():
        return hashlib.sha256().hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
