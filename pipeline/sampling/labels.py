"""Labels as people write them. A class is its name; an index is one only where it is asked for as such.

A number given as a label means the class of that name: 3, 3.0 and "3" are the class named "3", wherever it stands in
the order of classes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from pipeline import limits
from pipeline.errors import UserError
from pipeline.settings import suggest

SHOWN = 20
LONGEST = 200  # characters of a name that near ones are sought for
DIGITS = 18  # of an index


@dataclass(frozen=True)
class Wording:
    """How a mistake is told.

    where: what held the value; `{row}` stands for its position. by_index: what to write to ask by index; `{index}`
    stands for it; "" where there is no such way.
    """

    where: str = "label in row {row}"
    by_index: str = ""


PLAIN = Wording()


def label_indices(values: Iterable[object], classes: Sequence[str], wording: Wording = PLAIN) -> list[int]:
    """Each value, a class's name, as an index into `classes`.

    Raises:
        UserError: naming the first that is no class's name, the classes, and the way to ask by index.
    """
    names = {name: index for index, name in enumerate(classes)}
    return [_index(value, names, wording, row) for row, value in enumerate(values)]


def checked_indices(values: Iterable[object], classes: Sequence[str], wording: Wording = PLAIN) -> list[int]:
    """Each value, the index of a class, as an int from 0 to len(classes) - 1.

    Raises:
        UserError: naming the first that is no such index, and the classes.
    """
    found: list[int] = []
    for row, value in enumerate(values):
        number = _whole(value)
        if number is None or not 0 <= number < len(classes):
            where = wording.where.format(row=row)
            what = "missing" if _is_missing(value) else f"{_shown(value)}, which is no index of a class"
            last = len(classes) - 1
            raise UserError(f"{where} is {what}; the {len(classes)} classes are 0 … {last}: {listed(classes)}")
        found.append(number)
    return found


def as_indices(values: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The indices that were meant if those values that are no names were indices; None where some are neither."""
    found = [classes.index(value) if value in classes else _decimal(value) for value in values]
    meant = [index for index in found if index is not None and index < len(classes)]
    return meant if len(meant) == len(values) else None


def renumbering(names: Sequence[str], others: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each class of `names` its index in `others`, by name, -1 where it is not among them; (len(names),) int64."""
    index = {name: number for number, name in enumerate(others)}
    return np.array([index.get(name, -1) for name in names], dtype=np.int64)


def listed(classes: Sequence[str]) -> str:
    """The names of up to 20 classes."""
    return ", ".join(classes[:SHOWN]) + (", …" if len(classes) > SHOWN else "")


def _index(value: object, names: Mapping[str, int], wording: Wording, row: int) -> int:
    candidates = _candidates(value)
    for candidate in candidates:
        if candidate in names:
            return names[candidate]
    # Folders of one computer spell é as one character, and of another as two.
    composed = {unicodedata.normalize("NFC", name): index for name, index in names.items()}
    for candidate in candidates:
        if unicodedata.normalize("NFC", candidate) in composed:
            return composed[unicodedata.normalize("NFC", candidate)]
    raise UserError(_refused(value, candidates, list(names), wording, row))


def _candidates(value: object) -> tuple[str, ...]:
    """The names that a value may stand for, the likeliest first; none where it can be no name."""
    plain = _plain(value)
    if isinstance(plain, str):
        whole, _, rest = plain.partition(".")
        # A column of numbers with a gap is written as 3.0 by pandas.
        return (plain, whole) if rest and not rest.strip("0") and whole.lstrip("-").isdecimal() else (plain,)
    number = _whole(plain)
    if number is not None:
        return (str(number),) if isinstance(plain, Integral) else (str(number), str(plain))
    if isinstance(plain, bool) or _is_missing(plain):
        return ()
    return (str(plain),) if isinstance(plain, Real) else ()


def _plain(value: object) -> object:
    """A NumPy scalar, or array without axes, as Python's own."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    return value


def _whole(value: object) -> int | None:
    """The whole number in an int or a float; None for anything else, texts and truth values among them."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, Real):
        return None
    if isinstance(plain, Integral):
        return int(plain)
    number = float(plain)
    return int(number) if number.is_integer() else None


def _is_missing(value: object) -> bool:
    """None, NaN, and pandas' own marks of a gap."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    plain = _plain(value)
    return isinstance(plain, float) and plain != plain


def _refused(value: object, candidates: Sequence[str], classes: Sequence[str], wording: Wording, row: int) -> str:
    where = wording.where.format(row=row)
    if _is_missing(value):
        asked = wording.by_index.format(index=0)
        return f"{where} is missing; give one of the classes ({listed(classes)})" + (
            f", or an index: {asked}" if asked else ""
        )
    told = f"{where}: {_shown(value)} is no class; the classes are {listed(classes)}"
    index = next((index for index in map(_decimal, candidates) if index is not None), None)
    if wording.by_index and index is not None and index < len(classes):
        by_index = wording.by_index.format(index=index)
        return f"{told}; for the class at index {index}, '{classes[index]}', write {by_index}"
    near = suggest(candidates[0], classes) if candidates and len(candidates[0]) <= LONGEST else ""
    told += near if near.startswith("; did you mean") else ""
    return told


def _decimal(text: str) -> int | None:
    return int(text) if len(text) <= DIGITS and text.isdecimal() and text.isascii() else None


def _shown(value: object) -> str:
    """The value, or as much of it as fits: whoever asks may have sent megabytes."""
    plain = _plain(value)
    if not isinstance(plain, str | bool | Real):
        return f"a {type(plain).__name__}"
    text = repr(plain[: limits.SERVED_TEXT] if isinstance(plain, str) else plain)
    return text if len(text) <= limits.SERVED_TEXT else f"{text[: limits.SERVED_TEXT - 1]}…"
