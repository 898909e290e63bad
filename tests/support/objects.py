"""A real S3 server on a socket of this machine, for the length of a block; and one with a bad way to it."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import troubled

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def s3() -> Iterator[str]:
    """`s3://…` of an empty bucket. The credentials are in the environment while it lasts."""
    with _served() as (bucket, host, port):
        yield _uri(bucket, host, port)


@contextmanager
def troubled_s3(trouble: troubled.Trouble) -> Iterator[str]:
    """The same, by a way that does to each request what `trouble` says."""
    with _served() as (bucket, host, port), troubled.proxy(host, port, trouble) as between:
        yield _uri(bucket, "127.0.0.1", between)


def _uri(bucket: str, host: str, port: int) -> str:
    return f"s3://{bucket}/runs?region=us-east-1&scheme=http&endpoint_override={quote(f'{host}:{port}', safe='')}"


@contextmanager
def _served() -> Iterator[tuple[str, str, int]]:
    import boto3
    from moto.server import ThreadedMotoServer

    # The server's log of every request is nobody's business here.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Servers of one process share what they hold: what an earlier one was sent is not this one's.
    bucket = f"zerosum-{uuid.uuid4().hex[:12]}"
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket=bucket)
        yield bucket, host, port
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
