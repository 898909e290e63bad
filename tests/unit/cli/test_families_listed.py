from __future__ import annotations

import json

import pytest

from pipeline import plugins
from pipeline.cli import families as work

pytestmark = pytest.mark.slow  # it builds every preset, the largest among them, if only on the meta device


@pytest.fixture(scope="module")
def records() -> list[dict[str, object]]:
    return work.describe()


def test_every_family_and_preset_is_listed(records: list[dict[str, object]]) -> None:
    listed = {(record["family"], record["preset"]) for record in records}
    wanted = {
        (name, preset)
        for name in plugins.names("families")
        for preset in (None, *getattr(plugins.module("families", name), "PRESETS", {}))
    }
    assert listed == wanted


def test_a_published_configuration_is_counted_on_its_own_data(records: list[dict[str, object]]) -> None:
    (found,) = (each for each in records if (each["family"], each["preset"]) == ("dcgan", "faces64"))
    assert found["parameters"] == {"generator": 3_576_704, "discriminator": 2_765_568}
    assert found["reference"] == "DCGAN 64 px RGB"
    assert found["needs"] == ["x"]
    assert found["latents"] == [{"name": "z", "shape": [100], "distribution": "normal"}]
    assert found["paper"] == "Radford, Metz, Chintala 2016, arXiv:1511.06434"


def test_the_records_are_json(records: list[dict[str, object]]) -> None:
    assert json.loads(json.dumps(records)) == records


def test_people_get_a_line_a_preset(records: list[dict[str, object]]) -> None:
    lines = list(work.lines(records))
    (line,) = (each for each in lines if "DCGAN 64 px RGB" in each)
    assert line.split() == [
        "faces64", "needs", "x", "image", "3×64×64", "generator", "3,576,704", "discriminator", "2,765,568",
        "[DCGAN", "64", "px", "RGB]",
    ]  # fmt: skip
