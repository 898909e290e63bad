"""Captions as numbers: sentences as rows of UTF-8 bytes, as shards and batches hold them, and back; and their words.

A field of captions is uint8 (K, L): K captions of at most L bytes each, filled up with zeros. A row of zeros is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELD = "text"
"""The field of a batch that holds captions."""

VECTORS = "text_vectors"
"""The field that holds vectors which somebody made of them beforehand: float32 (K, dimension), zeros for none."""

WORD = re.compile(r"[^\W_]+")


def cleaned(text: str) -> str:
    """A sentence as it is stored: composed characters (NFC), one space for any white space or what does not print."""
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(each if each.isprintable() else " " for each in composed).split())


def cut(text: str, length: int) -> str:
    """The longest beginning of `text` of at most `length` bytes of UTF-8; no character is cut in two."""
    return text.encode()[:length].decode("utf-8", "ignore").rstrip()


def packed(sentences: Sequence[str], count: int, length: int) -> NDArray[np.uint8]:
    """Cleaned sentences, the first `count` of them, as rows of bytes (count, length); longer ones are cut."""
    found = np.zeros((count, length), dtype=np.uint8)
    for row, sentence in zip(found, sentences, strict=False):
        data = cut(sentence, length).encode()
        row[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    return found


def unpacked(codes: NDArray[Any]) -> list[str]:
    """Rows of bytes (n, length) as sentences; a row of zeros is the empty one."""
    rows = np.ascontiguousarray(codes, dtype=np.uint8)
    return [row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in rows]


def words(text: str) -> list[str]:
    """The words of a sentence, in small letters: runs of letters and digits, of any script."""
    return WORD.findall(text.casefold())
