"""Whether a family can be trained on data of some kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pipeline.contract.family import AnyFamily
from pipeline.settings import SettingsError
from pipeline.types import DataSpec

Sources = Callable[[], Mapping[str, str]]
"""Field → a source that gives it: asked for where one is missing."""


def check_data(family: AnyFamily, spec: DataSpec, sources: Sources = dict) -> None:
    """Refuse data the family cannot be trained on, before any work.

    Raises:
        SettingsError: saying what is wrong and what would do.
    """
    check_classes(family, spec.classes)
    check_fields(family, [each.name for each in spec.fields], sources)
    family.check(spec)


def check_fields(family: AnyFamily, fields: Collection[str], sources: Sources = dict) -> None:
    """Refuse a family that reads what the data does not hold.

    Raises:
        SettingsError: naming the field, and the source that has it.
    """
    missing = sorted(family.needs - {"x", "label", *fields})
    if missing:
        name = type(family).__module__.rpartition(".")[2]
        known = sources()
        advice = "".join(f"; take ingest.source: {{name: {known[each]}, …}}" for each in missing if each in known)
        if not known.keys() & missing:
            advice = "; ingest.derive computes fields from x"
        raise SettingsError(
            f"families.{name}: needs {' and '.join(missing)} with every batch, which the data lacks{advice}"
        )


def check_classes(family: AnyFamily, classes: Sequence[str]) -> None:
    """Refuse a class-conditional family for data with fewer than two classes.

    Raises:
        SettingsError: naming the family's key.
    """
    if family.conditional and len(classes) < 2:
        name = type(family).__module__.rpartition(".")[2]
        found = f"one class, '{classes[0]}'" if classes else "no classes"
        raise SettingsError(
            f"families.{name}.conditional: is true, and the data has {found}; "
            "set it to false, or label the data (class sub-folders, or a labels csv)"
        )
