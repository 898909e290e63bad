"""The source that the settings choose."""

from __future__ import annotations

from typing import Any

from pipeline import plugins
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource


def open_source(settings: IngestSettings) -> DataSource[Any]:
    """The source that `settings.source` chooses.

    Raises:
        SettingsError: for an unknown source or key.
    """
    return plugins.load("data.sources", settings.source, "ingest.source")
