"""What `run.address` comes to: a private Ray, a cluster to join, or one to submit jobs to. Imports no Ray."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pipeline.errors import UserError

VARIABLE = "RAY_ADDRESS"
HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(\d+)")
FORMS = "host:port, such as 10.0.0.5:6379; http://head:8265, to submit jobs; env, to follow RAY_ADDRESS; or empty"


@dataclass(frozen=True)
class Address:
    """Where Ray is. `value` is empty for a private one."""

    kind: Literal["private", "join", "submit"]
    value: str = ""


def parse(text: str) -> Address | None:
    """An address as it is written; None if it is none."""
    if not text:
        return Address("private")
    if text.startswith(("http://", "https://")):
        try:
            parts = urlsplit(text)
            good = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment or parts.username)
        except ValueError:
            return None
        return Address("submit", text.rstrip("/")) if good else None
    found = HOST_AND_PORT.fullmatch(text)
    return Address("join", text) if found and 0 < int(found[1]) < 65536 else None


def resolve(setting: str) -> Address:
    """`run.address`, with `env` looked up. Nothing but `env` reads the environment.

    Raises:
        UserError: if RAY_ADDRESS is to be followed and is unset, or no address.
    """
    if setting != "env":
        return parse(setting) or Address("private")
    found = os.environ.get(VARIABLE, "")
    address = parse(found)
    if not found or address is None:
        said = f"is '{found}', which is no address" if found else "is not set"
        raise UserError(f"run.address: env follows {VARIABLE}, which {said}; it must be {FORMS.partition('; env')[0]}")
    return address


def is_loopback(url: str) -> bool:
    """Whether nobody but this machine can reach the host of a URL."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
