"""What was set aside or passed over, and why: rejects.csv, duplicates.csv, passed_over.csv, the limit on rejects."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.formats import files
from pipeline.settings import UserError

REJECTS = "rejects.csv"
DUPLICATES = "duplicates.csv"
PASSED_OVER = "passed_over.csv"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reject:
    """One item that was set aside: its key, a reason that can be counted, details."""

    key: str
    reason: str
    detail: str = ""


def counted(rejects: Iterable[Reject]) -> dict[str, int]:
    """How many for each reason, by name."""
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A csv in UTF-8 with plain line ends, written atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    files.write_bytes(path, text.getvalue().encode())


def write_rejects(folder: Path, rejects: Sequence[Reject]) -> None:
    """rejects.csv, in the order of the source; only a header where nothing was set aside."""
    rows = ((reject.key, reject.reason, reject.detail) for reject in rejects)
    write_csv(folder / REJECTS, ("item", "reason", "detail"), rows)


def write_passed_over(folder: Path, passed: Sequence[tuple[str, str]]) -> None:
    """passed_over.csv; no file where nothing was passed over."""
    if passed:
        write_csv(folder / PASSED_OVER, ("item", "why"), passed)


def check_rejects(rejects: Sequence[Reject], items: int, allowed: float, folder: Path) -> None:
    """Refuse to go on where more than the fraction `allowed` of `items`, or all of them, were set aside.

    Raises:
        UserError: with the first reasons, and where the whole list is.
    """
    if not rejects or (len(rejects) <= allowed * items and len(rejects) < items):
        return
    lines = [f"  {reject.key}: {reject.reason}{f' ({reject.detail})' if reject.detail else ''}" for reject in rejects]
    more = [f"  … and {len(rejects) - SHOWN} more"] if len(rejects) > SHOWN else []
    problem = f"{len(rejects)} of {items} items cannot be used; ingest.max_rejected_fraction allows {allowed:g}"
    what = (
        "none can be used, whatever the limit" if len(rejects) == items else "mend or remove them, or raise the limit"
    )
    advice = f"{what}; all reasons are in {folder / REJECTS}"
    raise UserError("\n".join([problem, *lines[:SHOWN], *more, advice]))
