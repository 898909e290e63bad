"""Texts and addresses without what opens doors: passwords, keys, tokens and signatures, and what terminals obey.

Used wherever an address, a header or the environment is shown, logged, tagged or stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

MASK = "***"
# Of variables whose name alone says that they hold a secret; shorter values ("1", "true") are switches.
LEAST = 6
SECRET_VARIABLE = re.compile(
    r"(?i)(?!.*(_PATH|_FILE|_DIR|_URL|_URI|_MODE|_TTL)$).*(passw(or)?d|secret|token|api_?key|access_?key|credential"
    r"|connection_string|_key$|_auth$|_pass$|_pwd$|_pat$)"
)
# Of these every value counts, short ones as well.
NAMED = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY")
_QUERY = re.compile(
    r"(?i)((?<![\w.-])[\w.-]*(?:passw(?:or)?d|pwd|token|secret(?:[_-]?(?:access[_-]?)?key)?|signature|credentials?"
    r"|(?:api|private)[_-]?key|access[_-]?key(?:[_-]?id)?)"
    r"|(?<=[?&])(?:sig|key|auth|code|pass))=([^&\s'\"]+)"
)
_HEADER = re.compile(
    r"(?i)\b((?:x-ray-|proxy-)?authorization['\"]?\s*[:=]\s*['\"]?|bearer\s+)(?:(?:basic|bearer|token|apikey)\s+)?[^\s'\",;]+"
)
_OTHER_HEADER = re.compile(
    r"(?i)\b((?:set-)?cookie|x-api-key|x-amz-security-token)(['\"]?\s*[:=]\s*['\"]?)[^'\",\r\n]+"
)
# The same words as keys of JSON, of Python's dictionaries and of arguments.
_QUOTED = re.compile(
    r"(?i)((?<![\w.-])[\w.-]*(?:passw(?:or)?d|token|secret(?:[_-]?(?:access[_-]?)?key)?|signature|api[_-]?key"
    r"|access[_-]?key)(?:['\"]\s*:\s*|=)(?P<mark>['\"]))(?:(?!(?P=mark)).)+"
)
# A login before a host. A password may hold a slash; `host:8080/a@b` has a port and no password.
_LOGIN = re.compile(r"(\w:/{2,3})(?:[^\s/@:'\"]*:(?!\d{1,5}/)[^\s'\"]*|[^\s/'\"]+)@")
_BARE_LOGIN = re.compile(r"(?<![\w/@.%+-])[\w.%+-]+:[^\s@/'\":]")
# Where the two may stand: each ends with an @, which is looked for once, and not again from every place before it.
_BEFORE_AT = re.compile(r"(?<![^\s'\"])[^\s'\"]+@")
_PART_BEFORE_AT = re.compile(r"(?<![^\s@/'\"])[^\s@/'\"]++@(?=[\w\[])")

# What a terminal takes for a command, or shows in another order than it is written: C0 and C1 but tab and line end,
# and Unicode's overrides of direction.
_CONTROL = re.compile(r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def redact(text: str, *addresses: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` without the credentials of `addresses`, of any other address in it, of headers and of the environment.

    Percent-encoded forms of a secret and the plain ones are one secret.
    """
    found = {form for secret in _secrets(addresses, environment) for form in _forms(secret)}
    for secret in sorted(filter(None, found), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _BEFORE_AT.sub(lambda found: _LOGIN.sub(rf"\1{MASK}@", found[0]), text)
    text = _PART_BEFORE_AT.sub(_without_bare_login, text)
    text = _HEADER.sub(rf"\1{MASK}", text)
    text = _OTHER_HEADER.sub(rf"\1\2{MASK}", text)
    text = _QUOTED.sub(rf"\1{MASK}", text)
    return _QUERY.sub(rf"\1={MASK}", text)


def bare(address: str) -> str:
    """Scheme, host, port and path of an address: what may be kept in a file. Login, query and fragment are left out."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return redact(address)
    host = parts.netloc.rpartition("@")[2]
    return redact(f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}")


def has_login(address: str) -> bool:
    """Whether an address names a user or a password before its host."""
    if "@" in address.partition("://")[2].partition("?")[0]:
        return True
    return any(_bare_login(found) is not None for found in _PART_BEFORE_AT.finditer(address))


def visible(text: str, *, lines: bool = True) -> str:
    """The text with control characters written as \\xNN; line ends and tabs are kept where `lines`."""
    text = _CONTROL.sub(_escaped, text)
    return text if lines else re.sub(r"[\r\n\t]", _escaped, text)


def _without_bare_login(found: re.Match[str]) -> str:
    begin = _bare_login(found)
    return found[0] if begin is None else f"{found.string[found.start() : begin]}{MASK}@"


def _bare_login(found: re.Match[str]) -> int | None:
    """Where the login begins that ends with what was found; None where it is none."""
    login = _BARE_LOGIN.search(found.string, found.start(), found.end())
    return None if login is None else login.start()


def _secrets(addresses: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if name in NAMED or (len(value) >= LEAST and SECRET_VARIABLE.match(name)):
            yield value
        elif "://" in value and (login := _LOGIN.search(value)):
            # A library may tell the password of an address in other words than the address.
            password = login[0].partition("://")[2].partition(":")[2].removesuffix("@")
            if len(password) >= LEAST:
                yield password
    for address in addresses:
        if address.startswith("sqlite"):
            continue
        login = address.partition("://")[2].partition("?")[0].rpartition("@")[0]
        yield login
        yield login.partition(":")[2]
        yield from (found[1] for found in _QUERY.findall(address))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    for change in (unquote, unquote_plus, quote, quote_plus):
        yield change(secret)
    yield quote(secret, safe="")


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
