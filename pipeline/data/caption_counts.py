"""What the captions of packed examples are: how many, how long, how many of them differ, and the words of train."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline import captions
from pipeline.types import DataSpec, Example, TextSummary

MOST_WORDS = 16_384  # of the commonest, in a summary


@dataclass
class CaptionCounts:
    """Counts over some examples: adding those of two shards gives those of both, in any order.

    distinct: a digest of each sentence. words: in how many captions each word stands.
    """

    pictures: int = 0
    captions: int = 0
    characters: int = 0
    longest: int = 0
    distinct: set[bytes] = field(default_factory=lambda: set())
    words: Counter[str] = field(default_factory=lambda: Counter())

    def over(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The same examples, whose captions are counted as they go by."""
        for example in examples:
            if captions.FIELD in example.extra:
                self._count([each for each in captions.unpacked(example.extra[captions.FIELD]) if each])
            yield example

    def _count(self, sentences: list[str]) -> None:
        self.pictures += 1
        self.captions += len(sentences)
        for sentence in sentences:
            self.characters += len(sentence)
            self.longest = max(self.longest, len(sentence))
            self.distinct.add(hashlib.blake2b(sentence.encode(), digest_size=16).digest())
            self.words.update(set(captions.words(sentence)))

    def plus(self, other: CaptionCounts) -> CaptionCounts:
        """Those of both."""
        return CaptionCounts(
            self.pictures + other.pictures,
            self.captions + other.captions,
            self.characters + other.characters,
            max(self.longest, other.longest),
            self.distinct | other.distinct,
            self.words + other.words,
        )

    def numbers(self) -> dict[str, int]:
        """As the manifest holds them; nothing where there are no captions."""
        if not self.captions:
            return {}
        return {
            "pictures": self.pictures,
            "captions": self.captions,
            "distinct": len(self.distinct),
            "longest": self.longest,
            "characters": self.characters,
        }

    def summary(self) -> TextSummary:
        """The commonest words; of equal counts, those that come first in the order of their characters."""
        ranked = sorted(self.words.items(), key=lambda pair: (-pair[1], pair[0]))
        return TextSummary(self.captions, tuple(ranked[:MOST_WORDS]))


def holds_captions(spec: DataSpec) -> bool:
    """Whether the field of captions is among the data's fields, as ingest packs it."""
    found = spec.field(captions.FIELD)
    return found is not None and found.kind == "text" and found.dtype == "uint8"
