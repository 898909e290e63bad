"""The text encoder that the reference stage trains, as the settings name it: is it the one that a family means?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import plugins
from pipeline.errors import SettingsError

ROOM, WHERE = "text_encoders", "reference.text_encoder"


def disagreement(family: str, wanted: Mapping[str, Any], trained: Mapping[str, Any] | None) -> None:
    """Refuse a family's encoder that is not the one which the reference stage trains.

    Raises:
        SettingsError: naming both settings.
    """
    name = str(wanted["name"])
    if trained is None or trained["name"] != name:
        raise SettingsError(
            f"{WHERE}: the encoder of families.{family} is {name}, which the reference stage trains; set "
            f"{WHERE}: {{name: {name}}}"
        )
    mine, other = (plugins.configure(ROOM, each, "") for each in (wanted, trained))
    for key in plugins.class_of(ROOM, name).shape:
        if getattr(mine, key) != getattr(other, key):
            raise SettingsError(
                f"families.{family}.encoder.{key}: is {getattr(mine, key)}, and {WHERE}.{key} is "
                f"{getattr(other, key)}; set both alike"
            )
