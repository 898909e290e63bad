from __future__ import annotations

import pytest

from pipeline.evaluation.labels import label_indices
from pipeline.settings import UserError


def test_names_and_indices() -> None:
    assert label_indices(["cat", "1", 2, 0.0, "2.0"], ["ant", "bee", "cat"]) == [2, 1, 2, 0, 2]


def test_a_name_goes_before_a_number() -> None:
    assert label_indices(["1", 1], ["5", "7", "1"]) == [2, 1]


@pytest.mark.parametrize("value", ["dog", -1, 3, "3", 1.5, None, float("nan"), float("inf"), True, "", [1]])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"label in row 1: .* is no class; give a name \(ant, bee, cat\) or an index"):
        label_indices(["ant", value], ["ant", "bee", "cat"])


def test_many_classes_are_not_all_listed() -> None:
    with pytest.raises(UserError, match="c19, …"):
        label_indices(["x"], [f"c{index}" for index in range(1000)])
