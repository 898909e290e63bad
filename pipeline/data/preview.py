"""What is known of a source before any of it is read: its shape, classes and fields, or which setting is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from pipeline.data import classes, derived, ranking, rejects, scanning
from pipeline.data.opening import open_source
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, SourceField
from pipeline.errors import SettingsError, UserError
from pipeline.types import Column, DataSpec, Modality


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known of the data before any of it is read: None where only reading it would tell.

    fields: what it holds beside x. derive: what is computed of it, as the settings say.
    """

    channels: int | None
    resolution: tuple[int, ...] | None
    classes: tuple[str, ...]
    modality: Modality = "image"
    fields: tuple[SourceField, ...] = ()
    rate: int | None = None
    derive: Mapping[str, Any] = field(default_factory=lambda: {})
    columns: tuple[Column, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"

    def spec(self, channels: int) -> DataSpec:
        """The data with so many channels; where it is not known, sides are 1, and a field has x's shape.

        Raises:
            SettingsError: if a field cannot be derived of such data.
        """
        shape = (channels, *(self.resolution if self.resolution is not None else (1, 1)))
        fields = tuple(
            each.spec((each.channels or channels, *shape[1:]) if each.shape is None else each.shape)
            for each in self.fields
        )
        spec = DataSpec(self.modality, shape, self.classes, self.dtype, fields, self.rate, columns=self.columns)
        stored = (spec.x, *spec.stored)
        unsure = {each.name for each in self.fields if not each.fitted and each.shape is None}
        if self.resolution is None:
            unsure = {each.name for each in stored}
        known = [each for each in stored if each.name not in unsure]
        return replace(spec, fields=(*fields, *derived.foretold(self.derive, known, unsure, shape)))


def preflight(settings: IngestSettings, source: DataSource[Any] | None = None) -> Preview:
    """Check that the source's files are there, and say what is known already; decodes nothing.

    source: one that is open already, in place of what `settings` choose.

    Raises:
        UserError: naming the key that is wrong.
    """
    source = source or open_source(settings)
    check_fitting(source, settings)
    source.check("ingest.source")
    scanning.check_limit(source, settings)
    channels, *size = source.native_shape() or (None,)
    known = channels is not None
    resolution = tuple(size) if known else None
    if settings.size is not None:
        resolution = settings.size if source.frames is None else (source.frames, *settings.size)
    return Preview(
        settings.channels or channels,
        resolution,
        source.expected_classes(),
        source.modality,
        source.fields,
        source.rate(),
        settings.derive,
        source.expected_columns(),
        source.dtype,
    )


def foresee(settings: IngestSettings, source: DataSource[Any] | None = None) -> None:
    """Refuse what ingest would refuse for the listing of its items alone, such as rows of missing files.

    Nothing is decoded.

    source: one that is open already, in place of what `settings` choose.

    Raises:
        UserError: if too many items cannot be used, a class has none that can, or none could be held out.
    """
    source = source or open_source(settings)
    known = source.expected_entries()
    if known is None:
        return
    entries = scanning.limited(known, settings.limit)
    if not entries and not source.may_be_empty:
        raise UserError(f"the source {source.describe()['name']} holds no items")
    good = tuple(entry for entry in entries if entry.problem is None)
    bad = tuple(entry for entry in entries if entry.problem is not None)
    found = tuple(rejects.Reject(entry.key, *entry.problem) for entry in bad if entry.problem is not None)
    rejects.check_rejects(found, len(entries), settings.max_rejected_fraction, None)
    if not good:
        return
    nothing = np.zeros((0, 32), dtype=np.uint8)
    survey = scanning.Survey(good, nothing, Counter(), found, len(entries), {}, bad, ())
    # Which of them are repeats is not known yet.
    classes.with_examples(source, settings.model_copy(update={"duplicates": "keep"}), survey)
    for unpaired in {entry.unpaired for entry in good} if settings.holdout_fraction > 0 else ():
        labels = Counter(entry.label for entry in good if entry.unpaired == unpaired)
        if labels.total() == 1:
            raise UserError(ranking.TOO_FEW.format(count=1))
        if None not in labels and max(labels.values()) == 1:
            raise UserError(ranking.ALL_LAST)


def check_fitting(source: DataSource[Any], settings: IngestSettings) -> None:
    """Reject settings of pictures for data without any, and transforms that do not exist.

    Raises:
        SettingsError: naming them.
    """
    derived.check(settings.derive)
    given = [key for key in ("channels", "resolution") if getattr(settings, key) is not None]
    if source.modality not in ("image", "video") and given:
        what = source.modality
        raise SettingsError(
            *(f"ingest.{key}: fits images, and the source gives {what}; leave it out, or null" for key in given)
        )
