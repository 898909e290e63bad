"""The order in which people count names: class2 before class10."""

from __future__ import annotations

import re

Key = tuple[tuple[str | int, ...], str]


def natural(name: str) -> Key:
    """A sort key by which whole numbers within names count as numbers: "2" before "10", "a9b" before "a10".

    The order is total: names that differ only in leading zeros ("1", "01") go by their text.
    """
    parts: list[str | int] = []
    for index, part in enumerate(re.split("([0-9]+)", name)):
        if index % 2:
            digits = part.lstrip("0")
            parts += [len(digits), digits]  # int() refuses numbers of thousands of digits
        else:
            parts.append(part)
    return tuple(parts), name
