"""Sentences that samples are drawn from, as people write them: checked, and handed to a model that reads text."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import captions, limits
from pipeline.errors import UserError
from pipeline.sampling.samples import Labels, SampleSource


@dataclass(frozen=True)
class Sentences:
    """`samples.Inputs`: sample i is of sentence i, and of the first again after the last. codes: (m, K, L) of bytes."""

    name: str
    codes: NDArray[np.uint8]

    def __call__(self, numbers: Labels) -> dict[str, NDArray[Any]]:
        return {self.name: self.codes[numbers % len(self.codes)]}


def reads_text(source: SampleSource) -> bool:
    """Whether the model's samples are of sentences."""
    return _field(source) is not None


def drawing(source: SampleSource, texts: Iterable[object], where: str = "text") -> SampleSource:
    """The same model, whose sample i is of text i; of the first again after the last.

    where: how a person calls them.

    Raises:
        UserError: for a model that reads none, no text at all, or one that is empty, too long, or none.
    """
    name = _field(source)
    if name is None:
        raise UserError(f"{where}: this {source.design} model reads no text; leave it out")
    _, length = source.field(name).shape
    sentences = [_checked(text, length, where, row) for row, text in enumerate(texts)]
    if not sentences:
        raise UserError(f"{where}: give at least one sentence")
    found = copy.copy(source)
    found.inputs = Sentences(name, np.stack([captions.packed([each], 1, length) for each in sentences]))
    return found


def check_given(source: SampleSource, texts: Sequence[object] | None, where: str) -> None:
    """Refuse to draw from a model that reads text where none is given.

    Raises:
        UserError: saying how to give one.
    """
    if texts is None and source.inputs is None and reads_text(source):
        raise UserError(f"this {source.design} model draws what a sentence says: give {where}")


def _checked(text: object, length: int, where: str, row: int) -> str:
    if not isinstance(text, str):
        raise UserError(f"{where}: number {row} is a {type(text).__name__}, and must be text")
    said = captions.cleaned(text)
    size = len(said.encode())
    shown = said if len(said) <= limits.SERVED_TEXT else f"{said[: limits.SERVED_TEXT - 1]}…"
    if not captions.words(said):
        raise UserError(f"{where}: number {row}, '{shown}', holds no word")
    if size > length:
        raise UserError(f"{where}: '{shown}' has {size} bytes, and this model reads {length}; shorten it")
    return said


def _field(source: SampleSource) -> str | None:
    return next((name for name in sorted(source.family.inputs) if source.field(name).kind == "text"), None)
