"""What a person should know of an item that is used all the same: it was enlarged, cut, or has no sound in it.

Decoding and fitting call `leave`. The first pass of ingest collects what is left (`collected`), in whichever process
an item is read; anywhere else `leave` does nothing. `notes.csv` lists the items, and the manifest counts them by kind.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.rejects import DUPLICATES
from pipeline.storage import tables

NOTES = "notes.csv"
NAMED = 5
RARE_BELOW = 10  # training examples of a class, …
RARE_SHARE = 0.01  # … or this share of the largest class's

# Kinds that single items have.
ENLARGED = "enlarged"
STRETCHED = "stretched"
NORMALISED = "normalised"
CUT = "cut"
CANCELLING = "cancelling_channels"
SILENT = "silent"
EMPTY = "empty"
CUT_CAPTIONS = "cut_captions"
MORE_CAPTIONS = "more_captions"
EMPTY_CAPTIONS = "empty_captions"
# Kinds of the data as a whole.
TWO_LABELS = "two_labels"
DROPPED = "dropped_classes"
RARE = "rare_classes"
NO_HOLDOUT = "classes_without_holdout"
ALIKE = "classes_named_alike"

SAID = {
    ENLARGED: "{are} smaller than the resolution asked for and {were} enlarged",
    STRETCHED: "{were} stretched more than 1.5 times out of proportion",
    NORMALISED: "{are} louder than full scale and {were} divided by the peak",
    CUT: "{are} louder than full scale and {were} cut to it",
    CANCELLING: "{lose} most sound where channels are mixed to one",
    SILENT: "{are} silent",
    EMPTY: "{have} no full cell",
    CUT_CAPTIONS: "{have} captions that were cut to ingest.source.caption_length",
    MORE_CAPTIONS: "{have} more captions than ingest.source.captions_per_image, the first of which were kept",
    EMPTY_CAPTIONS: "{have} empty captions, which were left out",
}
ONE = {"are": "is", "were": "was", "have": "has", "lose": "loses", "repeat": "repeats"}


@dataclass(frozen=True, slots=True)
class Note:
    """One fact of one item.

    kind: a word that is counted. detail: for people. value: how much, the largest is the worst.
    amount: how many numbers of the item it concerns, such as samples.
    """

    kind: str
    detail: str = ""
    value: float = 0.0
    amount: int = 0


_left: ContextVar[list[Note] | None] = ContextVar("notes", default=None)


def leave(kind: str, detail: str = "", value: float = 0.0, amount: int = 0) -> None:
    """Leave a `Note` on the item that is being decoded or fitted. What `fetch` leaves is not collected."""
    found = _left.get()
    if found is not None:
        found.append(Note(kind, detail, value, amount))


@contextmanager
def collected() -> Generator[list[Note]]:
    """A list of what is left while the block runs."""
    found: list[Note] = []
    token = _left.set(found)
    try:
        yield found
    finally:
        _left.reset(token)


def worst(found: Iterable[Note]) -> list[Note]:
    """One note a kind, the worst, in the order of the kinds' first: two halves of one item are one item."""
    best: dict[str, Note] = {}
    for note in found:
        if note.kind not in best or note.value > best[note.kind].value:
            best[note.kind] = note
    return list(best.values())


Kept = Sequence[tuple[str, Note]]
"""Items' keys, each with a note, in the order of the source."""


def counted(found: Kept, of: int) -> dict[str, dict[str, Any]]:
    """By kind, as the manifest holds it: how many items `of` how many, and the worst of them with its detail."""
    kinds: dict[str, list[tuple[str, Note]]] = {}
    for key, note in found:
        kinds.setdefault(note.kind, []).append((key, note))
    counts: dict[str, dict[str, Any]] = {}
    for kind, mine in sorted(kinds.items()):
        key, top = max(mine, key=lambda each: each[1].value)
        counts[kind] = {
            "items": len(mine),
            "of": of,
            "worst": float(f"{top.value:.6g}"),  # sums differ in their last bits from processor to processor
            "item": key,
            "detail": top.detail,
        }
        if any(note.amount for _, note in mine):
            counts[kind]["amount"] = sum(note.amount for _, note in mine)
    return counts


def of_classes(
    train: Mapping[str, int], holdout: Mapping[str, int], dropped: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Notes on the classes, as the manifest holds them; train, holdout: examples by class name."""
    found: dict[str, dict[str, Any]] = {}
    if dropped:
        found[DROPPED] = {"items": len(dropped), "of": len(train) + len(dropped), "names": list(dropped[:NAMED])}
    least = max(RARE_BELOW, RARE_SHARE * max(train.values(), default=0))
    rare = sorted((name for name, count in train.items() if count < least), key=lambda name: train[name])
    if rare:
        names = [f"{name}: {train[name]}" for name in rare[:NAMED]]
        found[RARE] = {"items": len(rare), "of": len(train), "worst": train[rare[0]], "names": names}
    alike: dict[str, list[str]] = {}
    for name in train:
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold(), []).append(name)
    twins = [names for names in alike.values() if len(names) > 1]
    if twins:
        found[ALIKE] = {
            "items": sum(map(len, twins)),
            "of": len(train),
            "names": [" and ".join(names) for names in twins[:NAMED]],
        }
    unseen = [name for name in train if not holdout.get(name)]
    if unseen and sum(holdout.values()):
        found[NO_HOLDOUT] = {"items": len(unseen), "of": len(train), "names": unseen[:NAMED]}
    return found


def listed(names: Sequence[str], count: int | None = None) -> str:
    """The first few of `names`, and how many more there are of `count`, which is all of them if None."""
    more = (len(names) if count is None else count) - len(names[:NAMED])
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more else "")


def write(folder: Path, found: Kept) -> None:
    """notes.csv, in the order of the source; no file where there is nothing to note."""
    if found:
        tables.write(folder / NOTES, ("item", "note", "detail"), ((key, note.kind, note.detail) for key, note in found))


def sentences(found: Mapping[str, Mapping[str, Any]], folder: str) -> list[str]:
    """A manifest's notes, each as one sentence; `folder` is where the lists lie."""
    return [_sentence(kind, values, folder) for kind, values in found.items()]


def _sentence(kind: str, values: Mapping[str, Any], folder: str) -> str:
    count, of, detail = int(values["items"]), int(values["of"]), values.get("detail")
    verbs = ONE if count == 1 else {verb: verb for verb in ONE}
    items, classes = (f"{count:,} of {of:,} {what}" for what in ("items", "classes"))
    names = listed(values.get("names", ()), count)
    if kind == TWO_LABELS:
        return f"{items} {verbs['repeat']} another with another label: {detail}; see {folder}/{DUPLICATES}"
    if kind == DROPPED:
        return f"{classes} {verbs['have']} no usable example and {verbs['were']} left out: {names}"
    if kind == RARE:
        least = f"fewer than {RARE_BELOW}, or than {100 * RARE_SHARE:g} % of the largest class's"
        return f"{classes} {verbs['have']} few training examples ({least}): {names}"
    if kind == ALIKE:
        names = listed(values.get("names", ()))
        return (
            f"{classes} have names that differ in case or form alone: {names}; rename the folders if they are one class"
        )
    if kind == NO_HOLDOUT:
        return f"{classes} {verbs['have']} no holdout example: {names}"
    what = SAID[kind].format(**verbs) if kind in SAID else kind
    amount = f" ({values['amount']:,} samples)" if "amount" in values else ""
    which = "it is" if count == 1 else "most of all" if values["worst"] else "the first is"
    return f"{items} {what}{amount}; {which} {values['item']}{f': {detail}' if detail else ''}; see {folder}/{NOTES}"
