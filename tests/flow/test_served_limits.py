"""What one request to a served model may ask for, and what an error repeats of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_served_requests import CLASSES, Ask, asking, publish, small

from pipeline import limits
from pipeline.types import DataSpec, like_x

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    folder = tmp_path_factory.mktemp("conditional")
    small(folder, CLASSES)
    return asking(folder)


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    folder = tmp_path_factory.mktemp("unconditional")
    small(folder, ())
    return asking(folder)


@pytest.fixture(scope="module")
def translating(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    folder = tmp_path_factory.mktemp("translating")
    publish(folder, "pix2pix", DataSpec("image", (3, 16, 16), (), fields=like_x({"pair": (3, 16, 16)})), preset="smoke")
    return asking(folder)


def test_the_limits_are_those_of_the_table() -> None:
    """The file travels alone, and repeats them."""
    from pipeline.registry import served_model

    assert served_model.MAX_ROWS == limits.SERVED_ROWS
    assert served_model.SHOWN == limits.SERVED_TEXT


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"n": [10**12]}},
        {"inputs": {"n": [5 * 10**6]}},
        {"inputs": {"n": [2**62, 2**62, 2**62, 2**62]}},
        {"inputs": {"n": [4096, 1]}},
        {"dataframe_records": [{"label": None}] * 4097},
        {"inputs": {"n": [-(10**12)]}},
        {"dataframe_records": [{"label": [[["x"]]]}]},
    ],
)
def test_no_more_than_so_many_samples(body: object, unconditional: Ask) -> None:
    status, said = unconditional(body)
    assert status == 400
    assert len(said) < 400


def test_as_many_as_are_allowed(unconditional: Ask) -> None:
    status, found = unconditional({"inputs": {"n": [4096]}})
    assert (status, len(found)) == (200, 4096)


def test_a_team_may_allow_more_and_older_models_have_the_default(tmp_path: Path) -> None:
    small(tmp_path, ())
    serving = tmp_path / "served/artifacts/serving.json"
    about = json.loads(serving.read_text())
    assert about["max_rows"] == limits.SERVED_ROWS
    serving.write_text(json.dumps({**about, "max_rows": 3}))
    assert [asking(tmp_path)({"inputs": {"n": [n]}})[0] for n in (3, 4)] == [200, 400]
    del about["max_rows"]
    serving.write_text(json.dumps(about))
    assert [asking(tmp_path)({"inputs": {"n": [n]}})[0] for n in (5, 4097)] == [200, 400]


@pytest.mark.parametrize(
    "label",
    [
        "x" * 5 * 2**20,
        "9" * 5000,
        "9" * 5 * 2**20,
        {"a": "x" * 10**6},
        [["x" * 10**6]],
        10**400,
    ],
)
def test_an_error_repeats_little_of_a_label(label: Any, conditional: Ask) -> None:
    for column in ("label", "label_index"):
        status, said = conditional({"dataframe_records": [{column: label}, {column: label}]})
        assert status == 400
        assert column == "label_index" or len(said) < 400, "MLflow's own words about other types are its own"


def test_many_labels_in_one_row_are_many_samples(conditional: Ask) -> None:
    assert conditional({"inputs": {"label": ["1"] * 4096}})[0] == 200
    assert conditional({"inputs": {"label": ["1"] * 4097}})[0] == 400


def test_a_misspelt_parameter_is_not_repeated_whole(conditional: Ask) -> None:
    status, said = conditional({"inputs": {"label": ["1"]}, "params": {"x" * 10**6: 1}})
    assert (status, len(said) < 400) == (400, True)


@pytest.mark.parametrize(
    "odd",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        json.dumps([[[0] * 3] * 16] * 16).replace("0", "0" * 100),
        json.dumps([[[10**400] * 3] * 16] * 16),
        json.dumps([[[[0] * 3] * 16] * 16] * 16),
        json.dumps([[[0] * 3] * 16] * 15 + [[[0] * 3] * 10**5]),
        json.dumps([[[256] * 3] * 16] * 16),
        json.dumps([[[-1] * 3] * 16] * 16),
        json.dumps([[["x"] * 3] * 16] * 16),
        json.dumps([[[None] * 3] * 16] * 16),
        json.dumps({"a": 1}),
        "1",
    ],
)
def test_what_is_no_such_image_is_refused(odd: str, translating: Ask) -> None:
    status, said = translating({"dataframe_records": [{"input": odd}]})
    assert (status, "images of 16×16×3" in said) == (400, True), said


def test_images_in_every_form_are_the_same(translating: Ask) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).tolist()
    first = translating({"dataframe_records": [{"input": image}]})[1]
    for other in (json.dumps(image), json.dumps(image, indent=1), [[[float(x) for x in c] for c in r] for r in image]):
        status, found = translating({"dataframe_records": [{"input": other}]})
        assert status == 200, found
        assert np.array_equal(found, first)
