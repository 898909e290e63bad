from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.sampling.labels import Wording, as_indices, checked_indices, label_indices, listed, renumbering

DIGITS = [str(number) for number in (1, 10, 11, 12, 2, 3)]
ANIMALS = ["ant", "bee", "cat"]


@pytest.mark.parametrize(
    "value",
    [
        3,
        3.0,
        "3",
        "3.0",
        np.int64(3),
        np.uint8(3),
        np.float32(3),
        np.float64(3),
        np.array("3"),
        np.array(3),
        np.str_("3"),
    ],
)
def test_a_number_means_the_class_of_that_name(value: object) -> None:
    assert label_indices([value], DIGITS) == [5]


def test_a_column_of_pandas_beside_a_gap_holds_names_too() -> None:
    frame = pd.DataFrame({"label": [2, None, 11]})
    assert label_indices(frame["label"].dropna(), DIGITS) == [4, 2]


def test_text_is_the_very_name() -> None:
    assert label_indices(["03", "3", "3.0", 3.0], ["3", "03", "3.0"]) == [1, 0, 2, 0]
    assert label_indices([1.5, "1.5", 2.0], ["1.5", "2.0"]) == [0, 0, 1]
    assert label_indices(["True", "NA", ""], ["", "NA", "True"]) == [2, 1, 0]


def test_letters_of_two_spellings_are_one() -> None:
    assert label_indices(["caf\u00e9", "cafe\u0301"], ["x", "cafe\u0301"]) == [1, 1]


@pytest.mark.parametrize("value", ["dog", -1, 3, "3", "03", 1.5, float("inf"), True, np.bool_(True), "", [1], b"ant"])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"label in row 1: .* is no class; the classes are ant, bee, cat"):
        label_indices(["ant", value], ANIMALS)


@pytest.mark.parametrize("value", [0, "0", 2, "2", 2.0, np.int64(1), "1.0"])
def test_an_index_is_no_name_and_the_way_to_ask_by_it_is_told(value: object) -> None:
    with pytest.raises(UserError, match=r"is no class") as refused:
        label_indices([value], ANIMALS, Wording("--label", "--label-index {index}"))
    index = int(float(str(value)))
    told = f"for the class at index {index}, '{ANIMALS[index]}', write --label-index {index}"
    assert str(refused.value).endswith(told)
    with pytest.raises(UserError) as refused:
        label_indices([value], ANIMALS)
    assert "index" not in str(refused.value)


def test_what_is_no_index_is_not_told_to_be_one() -> None:
    for value in (3, "-1", 1.5, "x"):
        with pytest.raises(UserError) as refused:
            label_indices([value], ANIMALS, Wording("--label", "--label-index {index}"))
        assert "--label-index" not in str(refused.value)


def test_a_name_nearly_right_is_suggested() -> None:
    with pytest.raises(UserError, match="did you mean 'cat'"):
        label_indices(["cta"], ANIMALS)


@pytest.mark.parametrize("gap", [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT])
def test_a_gap_is_told_with_its_row(gap: object) -> None:
    with pytest.raises(UserError, match=r"label in row 2 is missing; give one of the classes \(ant, bee, cat\)"):
        label_indices(["ant", "bee", gap], ANIMALS)


def test_many_classes_are_not_all_listed() -> None:
    with pytest.raises(UserError, match="c19, …"):
        label_indices(["x"], [f"c{index}" for index in range(1000)])
    assert listed(["a", "b"]) == "a, b"


def test_indices_are_whole_and_in_range() -> None:
    assert checked_indices([0, np.int64(2), 1.0], ANIMALS) == [0, 2, 1]
    for value in (3, -1, 1.5, "1", "ant", True):
        with pytest.raises(UserError, match=r"label_index in row 1 is .*; the 3 classes are 0 … 2: ant, bee, cat"):
            checked_indices([0, value], ANIMALS, Wording("label_index in row {row}"))
    with pytest.raises(UserError, match="in row 0 is missing"):
        checked_indices([None], ANIMALS)


def test_what_was_meant_where_names_and_indices_are_mixed() -> None:
    assert as_indices(["cat", "0"], ANIMALS) == [2, 0]
    assert as_indices(["cat", "3"], ANIMALS) is None
    assert as_indices([], ANIMALS) == []


def test_classes_of_another_order_are_found_by_name() -> None:
    assert renumbering(["1", "10", "2"], ["1", "2", "10"]).tolist() == [0, 2, 1]
    assert renumbering(["1", "x"], ["1", "2"]).tolist() == [0, -1]
