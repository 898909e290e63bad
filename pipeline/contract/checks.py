"""Whether a family can be trained on data of some kind."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.contract.family import AnyFamily
from pipeline.settings import SettingsError
from pipeline.types import DataSpec


def check_data(family: AnyFamily, spec: DataSpec) -> None:
    """Refuse data the family cannot be trained on, before any work.

    Raises:
        SettingsError: saying what is wrong and what would do.
    """
    family.check_classes(spec.classes)
    check_fields(family, [name for name, _ in spec.fields])
    family.check(spec)


def check_fields(family: AnyFamily, fields: Collection[str]) -> None:
    """Refuse a family that reads what the data does not hold.

    Raises:
        SettingsError: naming the field, and the source that has it.
    """
    missing = sorted(family.needs - {"x", "label", *fields})
    if missing:
        sources = {"pair": "paired_folder", "unpaired": "two_folders"}
        advice = "".join(f"; take ingest.source: {{name: {sources[each]}, …}}" for each in missing if each in sources)
        raise SettingsError(
            f"families.{family.name}: needs {' and '.join(missing)} with every batch, which the data lacks{advice}"
        )
