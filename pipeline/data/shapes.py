"""The one shape that all examples have, or which settings would give them one."""

from __future__ import annotations

from collections import Counter

from pipeline.errors import SettingsError
from pipeline.types import FieldKind


def one_shape(found: Counter[tuple[int, ...]], kind: FieldKind = "image", what: str = "examples") -> tuple[int, ...]:
    """The shape that all examples share; `what`: the name of a field, where it is not x.

    Raises:
        SettingsError: if they do not, with the settings that would make them.
    """
    if len(found) == 1:
        return next(iter(found))
    if kind not in ("image", "video"):
        common = ", ".join(f"{'×'.join(map(str, key))} ({count})" for key, count in found.most_common(4))
        more = f" and {len(found) - 4} others" if len(found) > 4 else ""
        raise SettingsError(
            f"ingest.source: the {what} differ in shape: {common}{more}; say in the source's keys, such as length, "
            "which shape all shall have"
        )
    problems: list[str] = []
    for setting, counts in (("channels", _counts(found, slice(0, 1))), ("resolution", _counts(found, slice(-2, None)))):
        if len(counts) > 1:
            common = ", ".join(f"{'×'.join(map(str, key))} ({count})" for key, count in counts.most_common(4))
            more = f" and {len(counts) - 4} others" if len(counts) > 4 else ""
            problems.append(f"ingest.{setting}: the images differ: {common}{more}; say which {setting} all shall have")
    raise SettingsError(*problems)


def _counts(found: Counter[tuple[int, ...]], part: slice) -> Counter[tuple[int, ...]]:
    counts: Counter[tuple[int, ...]] = Counter()
    for shape, count in found.items():
        counts[shape[part]] += count
    return counts
