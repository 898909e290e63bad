"""Labels as people write them, a class's name or its index, to the indices a model reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.settings import UserError


def label_indices(values: Iterable[object], classes: Sequence[str]) -> list[int]:
    """Each value as an index into `classes`; a class's name goes before a number written as text.

    Raises:
        UserError: naming the first row that is neither.
    """
    names = {name: index for index, name in enumerate(classes)}
    return [_index(value, names, row) for row, value in enumerate(values)]


def _index(value: object, names: dict[str, int], row: int) -> int:
    if isinstance(value, str) and value in names:
        return names[value]
    number = _integer(value)
    if number is None or not 0 <= number < len(names):
        raise UserError(f"label in row {row}: {value!r} is no class; {_known(names)}")
    return number


def _integer(value: object) -> int | None:
    """The whole number in an int, a whole float (pandas writes 3 as 3.0 beside a gap) or a text."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _known(names: dict[str, int]) -> str:
    shown = ", ".join(list(names)[:20]) + (", …" if len(names) > 20 else "")
    return f"give a name ({shown}) or an index from 0 to {len(names) - 1}"
