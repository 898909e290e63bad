"""Whether a family can be trained on data of some kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pipeline.contract.family import AnyFamily
from pipeline.errors import SettingsError
from pipeline.types import DataSpec

Sources = Callable[[], Mapping[str, str]]
"""Field → a source that gives it: asked for where one is missing."""


def check_data(family: AnyFamily, spec: DataSpec, sources: Sources = dict) -> None:
    """Refuse data the family cannot be trained on, before any work.

    Raises:
        SettingsError: saying what is wrong and what would do.
    """
    family.check_classes(spec.classes)
    check_fields(family, [each.name for each in spec.fields], sources)
    family.check(spec)


def check_fields(family: AnyFamily, fields: Collection[str], sources: Sources = dict) -> None:
    """Refuse a family that reads what the data does not hold.

    Raises:
        SettingsError: naming the field, and the source that has it.
    """
    missing = sorted(family.needs - {"x", "label", *fields})
    if missing:
        known = sources()
        advice = "".join(f"; take ingest.source: {{name: {known[each]}, …}}" for each in missing if each in known)
        if not known.keys() & missing:
            advice = "; ingest.derive computes fields from x"
        raise SettingsError(
            f"families.{family.name}: needs {' and '.join(missing)} with every batch, which the data lacks{advice}"
        )
