"""What `run.storage` and sources may name: a folder, or an S3 bucket with its options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.errors import SettingsError

CONNECT, REQUEST = 10, 60  # seconds
ATTEMPTS = 6
OPTIONS = ("region", "endpoint_override", "scheme")


def is_remote(storage: str) -> bool:
    """Whether `run.storage` names an object store, not a folder."""
    return "://" in storage


def looks_remote(storage: str) -> bool:
    """Whether it was meant as an address: with `://`, or a scheme of object stores without the slashes."""
    return is_remote(storage) or re.match(r"(?i)(s3|gs|gcs|az|abfss?|hdfs|https?|file):", storage) is not None


def check_storage(uri: str, where: str = "run.storage") -> dict[str, str]:
    """The options of a remote `run.storage`, or of another setting, once it is one that can be used. Asks nobody.

    Args:
        where: the setting, for errors.

    Raises:
        SettingsError: if its kind is unknown, or it holds a key or a password, which would stand in the settings
            of every job, or has an option that is not known. No message repeats what may be a secret.
    """
    try:
        parts = urlsplit(uri)
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        endpoint = urlsplit(options.get("endpoint_override", ""))
    except ValueError as error:
        raise SettingsError(f"{where}: is no address ({error}); take s3://bucket/prefix or a folder") from None
    if parts.scheme != "s3" or not is_remote(uri):
        raise SettingsError(
            f"{where}: an address of the scheme {parts.scheme}: is of an unknown kind; it must be a folder or "
            "s3://bucket/prefix"
        )
    # A bucket's name has neither sign; a secret key with a slash in it would end before its @.
    if set("@:") & set(parts.netloc) or "@" in endpoint.netloc + endpoint.path:
        raise SettingsError(
            f"{where}: holds a user's name, a key or a password, which everybody who reads the settings or a job "
            "would see; take s3://bucket/prefix, and leave credentials where AWS's tools find them (AWS_PROFILE, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role)"
        )
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise SettingsError(f"{where}: has the option {unknown[0]}; there are {', '.join(OPTIONS)}")
    if not parts.netloc:
        raise SettingsError(f"{where}: names no bucket; take s3://bucket/prefix or a folder")
    return options


def opened(uri: str, where: str = "run.storage") -> tuple[Any, str]:
    """The pyarrow file system of a URI, and the path in it. where: the setting that names it, for errors.

    Raises:
        SettingsError: as `check_storage`.
    """
    from pyarrow import fs

    if not is_remote(uri):
        return fs.LocalFileSystem(), str(Path(uri).resolve())
    options, parts = check_storage(uri, where), urlsplit(uri)
    system = fs.S3FileSystem(
        connect_timeout=CONNECT,
        request_timeout=REQUEST,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # a small file is one request, not three
        **options,
    )
    return system, f"{parts.netloc}{unquote(parts.path)}".rstrip("/")
