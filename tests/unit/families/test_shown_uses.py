"""The uses that docs/families.md shows: each block of settings is taken as it stands, and fits its design."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import plugins
from pipeline.contract import AnyFamily
from pipeline.contract.checks import check_data
from pipeline.data import derived
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource
from pipeline.settings import validate
from pipeline.storage import yaml_text
from pipeline.types import DataSpec

PAGE = Path(__file__).parents[3] / "docs" / "families.md"


def blocks() -> list[dict[str, Any]]:
    """The YAML of the section."""
    section = PAGE.read_text(encoding="utf-8").split("## Images from images\n")[1].split("\n## ")[0]
    return [yaml_text.load(each.split("```")[0], "it") for each in section.split("```yaml\n")[1:]]


def test_seven_uses_are_shown() -> None:
    derived_fields = [field for each in blocks() for field in each["ingest"].get("derive", {}).values()]
    transforms = [field["name"] for field in derived_fields]
    assert len(blocks()) == len(transforms) + 1
    assert transforms == ["downscale", "degrade", "grey", "edges", "mask", "one_hot"]


@pytest.mark.parametrize("shown", blocks(), ids=lambda shown: str(shown["ingest"].get("derive", shown["train"])))
def test_each_is_valid_and_fits(shown: dict[str, Any]) -> None:
    ingest = validate(IngestSettings, shown["ingest"], "ingest")
    x = DataSpec("image", (3, 64, 64))
    named = {**shown["ingest"]["source"], "folder": "."}
    source: DataSource[Any] = plugins.load("data.sources", named)
    stored = tuple(each.spec((each.channels or 3, 64, 64)) for each in source.fields)
    spec = DataSpec("image", x.shape, fields=(*stored, *derived.fields(ingest.derive, [x.x, *stored])))
    name = shown["train"]["family"]
    family: AnyFamily = plugins.load("families", {"name": name, **shown["families"][name]})
    check_data(family, spec)
    assert family.build(spec)
