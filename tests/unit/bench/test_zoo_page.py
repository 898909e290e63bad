"""What docs/zoo holds: every image family, the page of its numbers, a reason where one is behind the first design."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import zoo

STEADY = ("dcgan", "wgan_gp", "sngan", "r3gan")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return json.loads((zoo.OUT / "zoo.json").read_text())


def test_the_page_is_that_of_the_numbers(rows: list[dict[str, Any]]) -> None:
    assert (zoo.OUT / "zoo.md").read_text() == "\n".join(zoo.page(rows))


def test_every_image_family_is_there_with_its_picture(rows: list[dict[str, Any]]) -> None:
    assert sorted(row["family"] for row in rows) == sorted(zoo.designs())
    assert all((zoo.OUT / f"{row['family']}.png").is_file() for row in rows)


def test_the_steady_ones_cover_the_data_and_beat_the_first_design(rows: list[dict[str, Any]]) -> None:
    names = [row["family"] for row in rows]
    behind = zoo.behind_the_original(names)
    assert names.index("gan") >= len(STEADY)
    for row in rows:
        if row["family"] in STEADY:
            assert row["equal_time"]["recall"] >= 0.2, row["family"]
            assert row["family"] not in behind


def test_whoever_is_behind_the_first_design_has_a_reason(rows: list[dict[str, Any]]) -> None:
    for name in zoo.behind_the_original([row["family"] for row in rows]):
        assert len(re.findall(r"\. [A-Z]", zoo.WHY[name])) == 1, f"{name}: two sentences"


def test_best_come_first(rows: list[dict[str, Any]]) -> None:
    distances = [row["equal_time"]["frechet_classifier"] for row in rows]
    assert distances == sorted(distances)
    assert all(row["equal_time"]["seconds"] >= 298 for row in rows)
