"""Which classes have an example to train on, and why the others have none."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data import scanning
from pipeline.data.notes import listed
from pipeline.data.rejects import SHOWN, Reject, by_reason
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Entry
from pipeline.errors import UserError


def with_examples(source: DataSource[Any], settings: IngestSettings, found: scanning.Survey) -> tuple[str, ...]:
    """The source's classes, in its order, that have an example; all of them unless `empty_classes` is drop.

    Raises:
        UserError: naming those that have none, why, and what would do.
    """
    classes = source.classes()
    entries = found.entries
    if settings.duplicates == "drop" and len(entries):
        firsts = np.unique(found.hashes, axis=0, return_index=True)[1]
        entries = tuple(entries[place] for place in sorted(firsts))
    present = {entry.label for entry in entries}
    empty = [name for name in classes if name not in present]
    if not empty or settings.empty_classes == "drop":
        return tuple(name for name in classes if name in present)
    reasons = _Reasons(source, settings, found, classes)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in empty:
        alike[reasons.of(name)].append(name)
    lines = [f"  {listed(names)}: {reason}" for reason, names in alike.items()]
    more = [f"  … and {len(lines) - SHOWN} reasons more"] if len(lines) > SHOWN else []
    count = f"{len(empty)} of {len(classes)} classes {'has' if len(empty) == 1 else 'have'} no example to train on"
    limit = f"for ingest.limit, {scanning.reaching(source.entries(), settings)}; " if reasons.limited else ""
    advice = f"{limit}mend or remove them, or set ingest.empty_classes: drop, which leaves them out"
    raise UserError("\n".join([count, *lines[:SHOWN], *more, advice]))


class _Reasons:
    """Why classes have no example.

    limited: of the classes that were asked for, whether ingest.limit left out items of one.
    """

    def __init__(
        self, source: DataSource[Any], settings: IngestSettings, found: scanning.Survey, classes: Sequence[str]
    ) -> None:
        self._classes, self._items, self._limit = classes, found.items, settings.limit
        self._rejects: dict[str | None, list[Reject]] = defaultdict(list)
        for entry, reject in zip(found.rejected, found.rejects, strict=True):
            self._rejects[_label(entry, classes)].append(reject)
        self._used = Counter(entry.label for entry in found.entries)
        self._all = Counter(_label(entry, classes) for entry in source.entries())
        self.limited = False

    def of(self, name: str) -> str:
        rejects = self._rejects[name]
        if self._used[name]:
            return "what it has repeats items of other classes, and ingest.duplicates is drop"
        left_out = self._all[name] - len(rejects)
        self.limited |= left_out > 0
        beyond = f"; ingest.limit left out {left_out} more" if left_out else ""
        if len(rejects) == 1:
            return f"1 item was rejected, {rejects[0].key}: {rejects[0].reason}{beyond}"
        if rejects:
            return f"{len(rejects)} items were rejected: {_counts(rejects)}, such as {rejects[0].key}{beyond}"
        if left_out:
            return f"ingest.limit left out all it has ({left_out})"
        if self._items == self._limit:  # of items that were sent ahead, only those within the limit are known
            return f"none of the {self._items} items within ingest.limit"
        numbered = list(self._classes) == [str(number) for number in range(len(self._classes))]
        first = next((label for label in self._classes if self._all[label]), "0")
        if numbered and int(name) < int(first):
            return f"no item has this label; the labels begin at {first}"
        unknown = self._rejects[None]
        what = f"; rejected before their class was known: {_counts(unknown)}" if unknown else ""
        return f"there is no item{what}"


def _counts(rejects: Sequence[Reject]) -> str:
    return ", ".join(f"{count} × {reason}" for reason, count in by_reason(rejects))


def _label(entry: Entry, classes: Sequence[str]) -> str | None:
    """The class of an item, by its folder where listing has set it aside before its class was asked for."""
    folder = entry.key.partition("/")[0]
    return entry.label or (folder if entry.problem is not None and folder in classes else None)
