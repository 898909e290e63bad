"""Which project a command is about: the folder of params.yaml, here or above."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.params.register import RegisterSettings

MARKS = ("params.yaml", "dvc.yaml")


def root(start: Path | None = None) -> Path:
    """The nearest folder upwards that holds params.yaml or dvc.yaml; `start` itself where none does."""
    here = (start or Path.cwd()).resolve()
    for folder in [here, *here.parents]:
        if any((folder / mark).is_file() for mark in MARKS):
            return folder
    return here


def register_settings(folder: Path, name: str | None = None) -> RegisterSettings:
    """The register section alone, so that a mistake elsewhere in the file stops no rollback.

    Raises:
        SettingsError: if the section is wrong, or the file no YAML.
    """
    from pipeline.params.register import RegisterSettings
    from pipeline.settings import validate

    section: object = None
    if (folder / "params.yaml").is_file():
        from pipeline import params

        section = params.read(folder / "params.yaml").get("register")
    settings = validate(RegisterSettings, section, "register")
    return settings if name is None else validate(RegisterSettings, {**settings.model_dump(), "name": name}, "--name")
