"""params.yaml as text: its sections, unchecked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from pipeline.errors import SettingsError
from pipeline.settings import shown
from pipeline.storage import yaml_text


def parse(path: Path, sections: Collection[str]) -> dict[str, Any]:
    """The file's sections, unchecked; `sections` are those that it may hold.

    Raises:
        SettingsError: if it is missing, or not YAML, or not sections.
    """
    try:
        data = yaml_text.read(path)
    except FileNotFoundError:
        raise SettingsError(f"{path.name} is missing from {path.parent.resolve()}; run this in the project") from None
    if data is None:
        raise SettingsError(f"{path.name} is empty; it must hold sections ({', '.join(sections)})")
    if not isinstance(data, dict):
        raise SettingsError(f"{path.name} must hold sections ({', '.join(sections)}), not {shown(data)}")
    return cast(dict[str, Any], data)
