"""A file from the network, whole and of the right sha256, or not at all; resumes interrupted downloads."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline import limits
from pipeline.errors import UserError
from pipeline.redaction import bare

PIECE = 1 << 20
ASKED = ("ETag", "Content-Length", "Last-Modified")
NO_HEAD = (403, 405, 501)  # of addresses that are signed for GET alone, too
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Download:
    """Where from and what must come.

    sha256: hexadecimal, whole, or as many of its first digits as are known; empty: any file may come.
    validator: the ETag or time of change of the file that is to come. With neither a sha256 nor a strong validator
    nothing is resumed: another file may have begun it.
    attempts: tries before giving up, each going on where the last one ended, `pause` seconds longer apart
    each time. timeout: seconds of silence. limit: more bytes than this are refused.
    """

    url: str
    sha256: str
    validator: str = ""
    attempts: int = 3
    pause: float = 1.0
    timeout: float = 30.0
    limit: int = limits.DOWNLOAD_BYTES

    def to(self, path: Path, progress: Progress = lambda done, total: None) -> None:
        """Fetch into `path`; bytes on their way are in `<path>.part`, which survives a failure.

        progress: bytes here so far, and in all where the server says.

        Raises:
            UserError: if the server refuses, is gone or falls silent, or what came is another file.
        """
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        if part.is_symlink() or (part.exists() and part.stat().st_nlink > 1):
            part.unlink()  # no try of ours: what is appended to it would land in a file elsewhere
        resumed = part.is_file() and part.stat().st_size > 0
        self._complete(part, progress)
        if not self.sha256:
            part.replace(path)
            return
        found = _sha256(part)
        if not found.startswith(self.sha256) and resumed:
            # The beginning may be of another try at another file: once more, from nothing.
            part.unlink()
            self._complete(part, progress)
            found = _sha256(part)
        if not found.startswith(self.sha256):
            size = part.stat().st_size
            part.unlink()
            raise UserError(
                f"{self.shown} sent {size:,} bytes with sha256 {found[:16]}…, and {self.sha256[:16]}… is wanted: "
                "it is another file, or something on the way changed it; nothing was kept"
            )
        part.replace(path)

    @property
    def shown(self) -> str:
        """The URL without login, query and fragment."""
        return bare(self.url)

    def _complete(self, part: Path, progress: Progress) -> None:
        for attempt in range(1, self.attempts + 1):
            try:
                self._once(part, progress)
            except urllib.error.HTTPError as error:
                # What is wrong with the request will be wrong again; a tired server may recover.
                if error.code < 500 or attempt == self.attempts:
                    raise UserError(f"{self.shown}: the server answers {error.code} {error.reason}") from None
            except (OSError, http.client.HTTPException) as error:
                if attempt == self.attempts:
                    raise UserError(self._interrupted(part, error)) from None
            else:
                return
            time.sleep(self.pause * attempt)

    def _once(self, part: Path, progress: Progress) -> None:
        """One connection: append to `part` what it lacks; ConnectionError if it ends early."""
        have = part.stat().st_size if part.is_file() and (self.sha256 or self._strong) else 0
        request = asked(self.url)
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self._strong:
                request.add_header("If-Range", self.validator)
        try:
            response: Any = _open(request, self.timeout)
        except urllib.error.HTTPError as error:
            if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing comes after what is here; the sha256 will tell whether that is all
            raise
        with response:
            begin, total = _extent(response, have)
            if total is not None and total > self.limit:
                raise UserError(f"{self.shown} is {total:,} bytes; more than {self.limit:,} are not fetched")
            self._append(response, part, begin, (total, progress))

    @property
    def _strong(self) -> bool:
        """Whether the validator says that bytes are the same; a weak one does not."""
        return bool(self.validator) and not self.validator.startswith("W/")

    def _append(self, response: Any, part: Path, begin: int, extent: tuple[int | None, Progress]) -> None:
        total, progress = extent
        done = begin
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if begin else os.O_TRUNC)
        with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
            while piece := response.read(PIECE):
                done += len(piece)
                if done > self.limit:
                    part.unlink()
                    raise UserError(f"{self.shown} sends more than {self.limit:,} bytes; nothing was kept")
                file.write(piece)
                progress(done, total)
        if total is not None and done < total:
            raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")

    def _interrupted(self, part: Path, error: Exception) -> str:
        reason = getattr(error, "reason", None) or error
        said = f"{self.shown} could not be fetched ({reason})"
        have = part.stat().st_size if part.is_file() else 0
        return f"{said}; {have:,} bytes are kept, run it again to go on" if have else f"{said}; run it again later"


def asked(url: str, method: str = "GET") -> urllib.request.Request:
    """A request for a URL without its login, which goes to its host alone, and to no host that a redirect names."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    bare_url = urlunsplit(parts._replace(netloc=host, fragment=""))
    request = urllib.request.Request(bare_url, headers={"User-Agent": "zerosum"}, method=method)
    if login:
        encoded = base64.b64encode(unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {encoded}")
    return request


def headers(url: str, timeout: float = 30.0) -> dict[str, str]:
    """What a server says of a file before it sends it: ETag, Content-Length, Last-Modified, as far as it does.

    Raises:
        UserError: if the server refuses, is gone or falls silent.
    """
    try:
        for method in ("HEAD", "GET"):  # some servers answer no HEAD
            try:
                with _open(asked(url, method), timeout) as response:
                    return {name: response.headers[name] for name in ASKED if response.headers[name]}
            except urllib.error.HTTPError as error:
                if method == "GET" or error.code not in NO_HEAD:
                    raise UserError(f"{bare(url)}: the server answers {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{bare(url)} does not answer ({getattr(error, 'reason', None) or error})") from None
    return {}


def _open(request: urllib.request.Request, timeout: float) -> Any:
    return urllib.request.build_opener(_Redirects).open(request, timeout=timeout)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https, and from https to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = {"https"} if req.type == "https" else {"http", "https"}
        if urlsplit(newurl).scheme not in allowed:
            known = " and ".join(sorted(allowed))
            raise UserError(f"{bare(req.full_url)} redirects to {bare(newurl)}, and only {known} is followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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
