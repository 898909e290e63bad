"""What is measured for the plan beyond these machines: lines, least times, and the file that keeps them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import scale_measure as measure
import torch
from hypothesis import given
from hypothesis import strategies as st
from scale_plan import MEASURED

pytestmark = pytest.mark.slow


@given(st.floats(1e-4, 1.0), st.floats(1e3, 1e9))
def test_a_line_is_found_again(begin: float, rate: float) -> None:
    sizes = [rate * factor for factor in (0.1, 1, 10, 100)]
    found = measure.line(sizes, [begin + size / rate for size in sizes])
    assert found["begin_seconds"] == pytest.approx(begin, rel=1e-4)
    assert found["rate"] == pytest.approx(rate, rel=1e-4)
    assert found["worst_error"] < 1e-6


def test_the_farthest_point_is_told() -> None:
    assert measure.line([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 8.0])["worst_error"] > 0.2


def test_the_least_of_each_is_taken_and_the_first_is_not_counted() -> None:
    waits = iter([0.0, 0.03, 0.02, 0.04])
    slow, quick = measure.least_seconds(lambda: time.sleep(next(waits)), lambda: None, rounds=3)
    assert 0.02 <= slow < 0.03
    assert quick < 0.01


def test_reading_is_measured_on_real_shards(tmp_path: Path) -> None:
    found = measure.reading(tmp_path, 32, images=150)
    assert 32 * 32 < found["stored_bytes"] < 3 * 32**2 + 2048  # compressed, with tar's headers
    assert 0 < found["take_seconds"] < found["decode_seconds"] < 0.1


def test_numbers_are_rounded_to_four_digits() -> None:
    found: dict[str, Any] = {"a": [1.23456, 7], "b": {"c": 123456.0}, "d": "e"}
    assert measure.rounded(found) == {"a": [1.235, 7], "b": {"c": 123500.0}, "d": "e"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what is said where there is no GPU")
def test_without_a_gpu_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["scale_measure.py", "--gpu"])
    with pytest.raises(SystemExit, match="--gpu: the rates of the GPU here"):
        measure.main()


def test_the_file_says_where_and_how_its_numbers_were_measured() -> None:
    kept = json.loads(MEASURED.read_text())
    assert set(kept) == {"where", "rates", "reading", "exchanges", "steps", "launch_seconds"}
    assert "one thread" in kept["where"]
    assert all(each["line"]["worst_error"] < 0.5 for each in kept["steps"].values())
