"""Words that this project writes no more: each hides a plainer one, or is a private metaphor (HOUSE.md, Prose)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for pattern in ("pipeline/**/*.py", "stages/*.py", "docs/*.md", "*.md", "infra/**/*.md", "*.yaml")
    for path in ROOT.glob(pattern)
)

# A pattern, and what to write instead.
WORDS = {
    r"\banew\b": "again",
    r"\b(numbers|values) that are none\b": "NaN or infinite values",
    r"\bset aside\b": "rejected, or kept apart",
    r"\bwould not do\b": "is not a valid value",
    r"\bsick\b": "unhealthy",
    r"\bturnstile\b": "semaphore",
    r"\bmailbox\b": "channel",
    r"\bforge\b": "generator, or its loss",
    r"\bby way of\b": "through, by",
    r"\bof no kind\b": "of an unknown kind",
    r"\bgone on (with|from)\b": "resumed",
    r"\bso many-th\b": "n-th",
}


@pytest.mark.parametrize("pattern", WORDS)
def test_no_file_has_the_word(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: write {WORDS[pattern]}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)
