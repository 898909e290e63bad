"""docs/limits.md says what pipeline/limits.py says."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline import limits
from pipeline.limits import LIMITS

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def shown(value: int, unit: str) -> str:
    for size, name in UNITS if unit == "bytes" else ():
        if value % size == 0:
            return f"{value // size} {name}"
    return f"{value:,} {unit}"


def test_the_page_has_every_limit_as_it_is() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    expected = []
    for name, limit in LIMITS.items():
        settings = ", ".join(f"`{each.strip()}`" for each in limit.raised_by.split(";") if each)
        expected.append(f"| `{name}` | {shown(limit.value, limit.unit)} | {limit.bounds} | {settings} |")
    assert rows == expected


def test_each_is_a_constant_of_its_name_that_something_reads() -> None:
    paths = [path for path in (PAGE.parents[1] / "pipeline").rglob("*.py") if path.name != "limits.py"]
    used = set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in paths)))
    for name, limit in LIMITS.items():
        assert getattr(limits, name) == limit.value
        assert name in used
