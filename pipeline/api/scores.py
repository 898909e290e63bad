"""Scores of any two sets: data, models, folders of images, statistics."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.api.data import Data
from pipeline.api.models import Model
from pipeline.api.trainings import Run
from pipeline.errors import UserError
from pipeline.formats.reference import Reference
from pipeline.formats.report import ScoreRecord
from pipeline.registry import opening
from pipeline.scoring import score as scoring
from pipeline.scoring.extract import in_threads
from pipeline.scoring.inputs import Opening

Set = Data | Model | Run | Reference | str | Path


class Scores(list[ScoreRecord]):
    """Records of one comparison, each with its protocol. `notes` is what else should be known of it."""

    def __init__(self, records: Sequence[ScoreRecord], notes: Sequence[str] = ()) -> None:
        super().__init__(records)
        self.notes = tuple(notes)

    def __str__(self) -> str:
        """A table: name, value, spread, numbers of reals and samples."""
        width = max((len(record.name) for record in self), default=0)
        lines = [
            f"{record.name:{width}}  {record.value:12.6g}{f' ± {record.spread:.2g}' if record.spread else ''}"
            f"  ({record.n_fake} against {record.n_real})"
            for record in self
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def by_name(self, name: str) -> ScoreRecord:
        """The record of that name.

        Raises:
            UserError: if there is none.
        """
        for record in self:
            if record.name == name:
                return record
        raise UserError(f"there is no score {name!r}; there are {', '.join(record.name for record in self)}")


def score(
    real: Set | None,
    fake: Set,
    *,
    metrics: Sequence[str | Mapping[str, Any]] | None = None,
    extractor: str | Mapping[str, Any] | None = None,
    n: int | None = None,
    seed: int = 0,
    truncation: float = 1.0,
    threads: int | None = None,
) -> Scores:
    """Score `fake` against `real`, as `zerosum score` does.

    Args:
        real: what is compared with: `Data`, a `Reference` (`run.reference`), a folder of images, shards
            (`folder:holdout` for that split), statistics (`.npz`) or features (`.npy`). None where the metrics look at
            samples alone.
        fake: what is scored: a `Model`, a `Run`, an address such as `models:/NAME@champion`, or any of the above.
        metrics: names of files in pipeline/metrics, or `{"name": …}` with its keys; by default all that can be had.
        extractor: a name or `{"name": …}`; by default that of a reference, and the Inception network for all else.
        n: samples of a model, and at most this many images of a folder.
        seed: of samples and subsets.
        truncation: of a model's samples.
        threads: how many read images and extract features; any number gives the same bits. By default all CPUs.

    Returns:
        A record for each score; the mean over nothing but this one seed, so `spread` is that of a metric's own parts.

    Raises:
        UserError: if a side cannot be read, the two do not fit each other, or a metric cannot be had from them.
    """
    chosen = [{"name": each} if isinstance(each, str) else dict(each) for each in metrics or scoring.DEFAULT]
    own = {"name": extractor} if isinstance(extractor, str) else extractor
    with tempfile.TemporaryDirectory(prefix="zerosum-") as scratch:
        request = scoring.Request(
            real=None if real is None else _address(real),
            fake=_address(fake),
            extractor=own,
            metrics=chosen,
            strict=metrics is not None,
            n=n,
            seed=seed,
            truncation=truncation,
        )
        opened = Opening(lambda uri: opening.folder_at(uri, Path.cwd(), Path(scratch)), lambda _: lambda *_: None)
        mapped = in_threads(threads or os.cpu_count() or 1)
        found = scoring.score(request, scoring.Execution(opened, mapped))
    return Scores(found.records, found.said)


def _address(given: Set) -> str:
    if isinstance(given, Run):
        given = given.model
    return str(given.folder) if isinstance(given, Data | Model | Reference) else str(given)
