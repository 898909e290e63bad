"""What `run.storage` may name: a folder, or an S3 bucket with its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.settings import UserError

CONNECT, REQUEST = 10, 60  # seconds
ATTEMPTS = 6
OPTIONS = ("region", "endpoint_override", "scheme")


def is_remote(storage: str) -> bool:
    """Whether `run.storage` names an object store, not a folder."""
    return "://" in storage


def opened(uri: str) -> tuple[Any, str]:
    """The pyarrow file system of a URI, and the path in it.

    Raises:
        UserError: if it is of no kind that is known, or has an option that is not.
    """
    from pyarrow import fs

    if not is_remote(uri):
        return fs.LocalFileSystem(), str(Path(uri).resolve())
    parts = urlsplit(uri)
    if parts.scheme != "s3":
        raise UserError(f"run.storage: '{uri}' is of no kind that is known; take s3://bucket/prefix or a folder")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise UserError(f"run.storage: '{uri}' has the option {unknown[0]}; there are {', '.join(OPTIONS)}")
    system = fs.S3FileSystem(
        connect_timeout=CONNECT,
        request_timeout=REQUEST,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, not three
        **options,
    )
    return system, f"{parts.netloc}{unquote(parts.path)}".rstrip("/")
