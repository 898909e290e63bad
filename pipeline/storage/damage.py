"""What the libraries raise when they are handed damaged bytes, as one error: a reader turns it into its own words."""

from __future__ import annotations

import json
import lzma
import pickle
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from pipeline import limits
from pipeline.errors import Damaged, UserError

# A list, not `Exception`: what a library raises for odd input, and what lying sizes and endless nesting lead to.
DAMAGE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # RecursionError too
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    struct.error,
    tarfile.TarError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def reading() -> Generator[None]:
    """Raise `Damaged` for whatever a library meets in the block, which calls nothing but the library."""
    try:
        yield
    except (Damaged, UserError):
        raise
    except DAMAGE as error:
        raise Damaged(why(error)) from None


def why(error: BaseException) -> str:
    """The first line of what a library said, without the number of a memory address."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it says that it holds more than this machine's memory"
    said = getattr(error, "strerror", None) or str(error)
    return (str(said).strip().splitlines() or [type(error).__name__])[0][:300]


def parse_json(data: bytes | str, *, finite: bool = False) -> Any:
    """A JSON document.

    finite: refuse NaN and Infinity, which Python writes and JSON lacks.

    Raises:
        Damaged: for what is none, nested deeper than `JSON_DEPTH`, or holds text that UTF-8 cannot.
    """
    with reading():
        value: Any = json.loads(data, parse_constant=_no_constant if finite else None)
    if _deeper(value, limits.JSON_DEPTH):
        raise Damaged("it is nested too deeply")
    escape = b"\\ud" if isinstance(data, bytes) else "\\ud"
    if escape in data.lower():  # pyright: ignore[reportOperatorIssue] (both are text, or both bytes)
        with reading():
            json.dumps(value, ensure_ascii=False).encode()
    return value


def _no_constant(name: str) -> None:
    raise Damaged(f"it holds {name}")


def _deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested deeper than `most` levels."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not level:
            return False
        level = [child for each in level for child in _children(each) if isinstance(child, dict | list)]
    return bool(level)


def _children(value: Any) -> list[Any]:
    return list(cast(dict[str, Any], value).values()) if isinstance(value, dict) else value
