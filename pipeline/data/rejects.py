"""What was rejected or passed over, and why: rejects.csv, duplicates.csv, passed_over.csv, the limit on rejects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.storage import tables

REJECTS = "rejects.csv"
DUPLICATES = "duplicates.csv"
PASSED_OVER = "passed_over.csv"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reject:
    """One item that was rejected: its key, a reason that can be counted, details."""

    key: str
    reason: str
    detail: str = ""


REMEDIES = {
    "not an image": "name a folder of JPEG, PNG or WebP images, or convert these",
    "not a wav file": "name a folder of wav files, or convert these",
    "too many bytes": "raise ingest.max_bytes",
    "too many pixels": "raise ingest.max_pixels",
    "transparent": "set ingest.transparency to white or black",
    "another resolution": "set ingest.resize to stretch, center_crop or pad",
    "two sizes": "set ingest.resolution",
    "two shapes": "set ingest.resolution and ingest.resize: stretch, or crop both halves alike",
    "more than 8 bits a channel": "convert them to 8 bits",
    "unsupported colours": "convert them to RGB",
    "outside every class folder": "set ingest.source.labels: none, or sort them into class folders",
    "no label in the name": "set ingest.source.labels: none, or a pattern that fits these names",
    "no label in the csv": "write these names, relative to the folder, in the csv",
    "no caption": "write a row for each image, or remove the images without one",
    "vector not finite": "mend ingest.source.caption_vectors, or remove these images",
    "caption too long": "set ingest.source.long_captions: cut, or raise ingest.source.caption_length",
    "missing file": "write names in the csv as they stand in the folder",
    "too long": "set ingest.source.longer: start or center",
    "too short": "set ingest.source.shorter: end or both",
    "other channels": "set ingest.source.channels to what the files have, or to 1",
    "channels cancel": "set ingest.source.mix: first",
    "louder than full scale": "set ingest.source.beyond: normalise or cut",
}
"""What helps where all items were rejected for one reason."""


def by_reason(rejects: Iterable[Reject]) -> list[tuple[str, int]]:
    """Reasons and how often each, the most frequent first; equal counts by name."""
    return sorted(counted(rejects).items(), key=lambda pair: -pair[1])


def counted(rejects: Iterable[Reject]) -> dict[str, int]:
    """How many for each reason, by name."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))


def write_rejects(folder: Path, rejects: Sequence[Reject]) -> None:
    """rejects.csv, in the order of the source; only a header where nothing was rejected."""
    rows = ((reject.key, reject.reason, reject.detail) for reject in rejects)
    tables.write(folder / REJECTS, ("item", "reason", "detail"), rows)


def write_passed_over(folder: Path, passed: Sequence[tuple[str, str]]) -> None:
    """passed_over.csv; no file where nothing was passed over."""
    if passed:
        tables.write(folder / PASSED_OVER, ("item", "why"), passed)


def check_rejects(rejects: Sequence[Reject], items: int, allowed: float, folder: Path | None) -> None:
    """Refuse to go on where more than the fraction `allowed` of `items`, or all of them, were rejected.

    folder: where the whole list is, if it is written.

    Raises:
        UserError: with the first reasons, and where the whole list is.
    """
    if not rejects or (len(rejects) <= allowed * items and len(rejects) < items):
        return
    reasons = by_reason(rejects)
    counts = ", ".join(f"{count} × {reason}" for reason, count in reasons[:SHOWN])
    others = f", {len(reasons) - SHOWN} other reasons" if len(reasons) > SHOWN else ""
    shown = [
        f"  {reject.key}: {reject.reason}{f' ({reject.detail})' if reject.detail else ''}" for reject in _some(rejects)
    ]
    more = [f"  … and {len(rejects) - len(shown)} more"] if len(rejects) > len(shown) else []
    if len(rejects) == items:
        problem = f"{len(rejects)} of {items} items cannot be used, which leaves nothing"
        remedy = REMEDIES.get(reasons[0][0], "mend or replace them")
        advice = f"{remedy}; a higher ingest.max_rejected_fraction would not help"
    else:
        problem = f"{len(rejects)} of {items} items cannot be used; ingest.max_rejected_fraction allows {allowed:g}"
        advice = f"mend or remove them, or raise the limit to {_enough(len(rejects), items):g}"
    if folder is not None:
        advice += f"; all reasons are in {folder / REJECTS}"
    raise UserError("\n".join([problem, f"  {counts}{others}", *shown, *more, advice]))


def _enough(rejects: int, items: int) -> float:
    """The least fraction of three digits that allows so many of `items`."""
    thousandths = math.floor(1000 * rejects / items)
    while thousandths / 1000 * items < rejects:
        thousandths += 1
    return thousandths / 1000


def _some(rejects: Sequence[Reject]) -> list[Reject]:
    """Up to SHOWN of them, the most frequent reason first, and one at least of each of the three most frequent."""
    order = {reason: place for place, (reason, _) in enumerate(by_reason(rejects))}
    ranked = sorted(rejects, key=lambda reject: order[reject.reason])  # stable: in the order of the source
    first = [next(reject for reject in ranked if order[reject.reason] == place) for place in range(min(3, len(order)))]
    rest = [reject for reject in ranked if not any(reject is each for each in first)]
    return sorted([*first, *rest[: SHOWN - len(first)]], key=lambda reject: order[reject.reason])
