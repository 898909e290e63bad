"""Scores of pairs: closed forms, a slow transcription of SSIM, luminance, borders, and the input beside the sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import PairBlock, Pairs, Score, Side, Statistics
from pipeline.errors import UserError
from pipeline.metrics import _pairs
from pipeline.metrics.psnr import psnr
from pipeline.metrics.ssim import ssim
from pipeline.types import Array

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 256, (5, 3, 16, 20), np.uint8)
MADE = np.clip(TRUTH.astype(int) + RNG.integers(-9, 10, TRUTH.shape), 0, 255).astype(np.uint8)
GREY = RNG.integers(0, 256, (5, 1, 16, 20), np.uint8)


def statistics(made: Array = MADE, truth: Array = TRUTH, given: Array | None = None) -> Statistics:
    def blocks(limit: int) -> Iterator[PairBlock]:
        for begin in range(0, limit, 2):
            rows = slice(begin, min(begin + 2, limit))
            yield PairBlock(made[rows], truth[rows], None if given is None else given[rows])

    none = Side(None)
    pairs = Pairs(len(made), blocks, "the input low")
    return Statistics(none, none, None, ExtractorIdentity("toy", "", 1), 0, pairs=pairs)


def scored(name: str, found: Statistics, **keys: Any) -> dict[str, Score]:
    return {each.name: each for each in plugins.load("metrics", {"name": name, **keys}).compute(found)}


# --- psnr ---------------------------------------------------------------------------------------


def test_one_level_everywhere_is_48_decibels() -> None:
    x = np.full((2, 1, 4, 4), 100.0)
    assert psnr(x, x + 1).tolist() == pytest.approx([20 * np.log10(255)] * 2)
    assert psnr(np.zeros((1, 1, 2, 2)), np.full((1, 1, 2, 2), 255.0))[0] == pytest.approx(0)
    assert psnr(x, x).tolist() == [100.0, 100.0]


def test_the_mean_is_of_decibels_with_the_input_beside_it() -> None:
    given = GREY
    found = scored("psnr", statistics(given=given))
    squared = ((MADE.astype(float) - TRUTH) ** 2).mean(axis=(1, 2, 3))
    each = 10 * np.log10(255**2 / squared)
    score = found["psnr"]
    assert score.value == pytest.approx(each.mean())
    assert score.spread == pytest.approx(each.std(ddof=1))
    assert (score.n_real, score.n_fake, score.split) == (5, 5, "holdout")
    assert score.each == pytest.approx(each)
    beside = ((given.repeat(3, 1).astype(float) - TRUTH) ** 2).mean(axis=(1, 2, 3))
    assert found["psnr_of_input"].value == pytest.approx((10 * np.log10(255**2 / beside)).mean())
    assert set(scored("psnr", statistics())) == {"psnr"}, "no input that could be compared"


def test_luminance_is_bt_601s_and_borders_are_shaved() -> None:
    white = np.full((1, 3, 1, 1), 255, np.uint8)
    assert _pairs.luminance(white)[0, 0, 0, 0] == pytest.approx(235, abs=0.01)
    assert _pairs.luminance(white * 0)[0, 0, 0, 0] == 16
    green = np.array([0, 255, 0], np.uint8).reshape(1, 3, 1, 1)
    assert _pairs.luminance(green)[0, 0, 0, 0] == pytest.approx(16 + 128.553)
    found = scored("psnr", statistics(), luminance=True, shave=4)
    assert list(found) == ["psnr_y"]
    a, b = (_pairs.luminance(x)[:, :, 4:-4, 4:-4] for x in (MADE, TRUTH))
    assert found["psnr_y"].value == pytest.approx((10 * np.log10(255**2 / ((a - b) ** 2).mean(axis=(1, 2, 3)))).mean())
    grey = scored("psnr", statistics(MADE[:, :1], TRUTH[:, :1]), luminance=True)["psnr_y"]
    plain = scored("psnr", statistics(MADE[:, :1], TRUTH[:, :1]))["psnr"]
    assert grey.value == plain.value, "grey images have no other luminance"


def test_a_limit_takes_the_first_and_too_much_shaved_is_refused() -> None:
    found = scored("psnr", statistics(), limit=3)["psnr"]
    assert (found.n_fake, len(found.each if found.each is not None else [])) == (3, 3)
    with pytest.raises(UserError, match="shave: 8 pixels"):
        scored("psnr", statistics(), shave=8)
    with pytest.raises(UserError, match="without truths"):
        scored("psnr", replace(statistics(), pairs=None))


# --- ssim ---------------------------------------------------------------------------------------


def test_equal_images_are_1_and_flat_ones_have_a_closed_form() -> None:
    x = RNG.uniform(0, 255, (2, 3, 12, 13))
    assert ssim(x, x) == pytest.approx(1)
    c1 = (0.01 * 255) ** 2
    a, b = (np.full((1, 1, 11, 11), value) for value in (100.0, 150.0))
    assert ssim(a, b)[0] == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))
    assert ssim(x, 255 - x).max() < 0.1, "a negative has another structure"


def test_it_is_the_papers_equation_under_scipys_gaussian() -> None:
    a, b = MADE.astype(float), TRUTH.astype(float)

    def mean(x: Array) -> Array:
        return ndimage.gaussian_filter(x, (0, 0, 1.5, 1.5), radius=(0, 0, 5, 5))[:, :, 5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    expected = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert ssim(a, b) == pytest.approx(expected.mean(axis=(1, 2, 3)))


def test_images_smaller_than_the_window_have_no_score() -> None:
    assert scored("ssim", statistics(MADE[:, :, :10], TRUTH[:, :, :10])) == {}
    assert set(scored("ssim", statistics(given=MADE))) == {"ssim", "ssim_of_input"}


# --- absolute differences -----------------------------------------------------------------------


def test_l1_is_in_grey_levels_with_that_of_copying_the_input_beside_it() -> None:
    found = scored("pair_l1", statistics(given=GREY))
    each = np.abs(MADE.astype(float) - TRUTH).mean(axis=(1, 2, 3))
    assert found["pair_l1"].value == pytest.approx(each.mean())
    assert found["pair_l1"].each == pytest.approx(each)
    copied = np.abs(GREY.repeat(3, 1).astype(float) - TRUTH).mean(axis=(1, 2, 3))
    assert found["pair_l1_of_input"].value == pytest.approx(copied.mean())


def test_cycle_error_is_of_each_domain_and_of_both() -> None:
    pairs = statistics().pairs
    same = statistics(TRUTH).pairs
    assert pairs is not None
    assert same is not None
    found = scored("cycle_error", replace(statistics(), cycles={"x": pairs, "unpaired": same}))
    error = np.abs(MADE.astype(float) - TRUTH).mean(axis=(1, 2, 3))
    assert found["cycle_error_x"].value == pytest.approx(error.mean())
    assert found["cycle_error_x"].spread == pytest.approx(error.std(ddof=1))
    assert found["cycle_error_unpaired"].value == 0
    assert found["cycle_error"].value == pytest.approx(error.mean() / 2)
    assert found["cycle_error"].n_fake == 10
    few = scored("cycle_error", replace(statistics(), cycles={"x": pairs}), limit=3)
    assert few["cycle_error_x"].value == pytest.approx(error[:3].mean())
    with pytest.raises(UserError, match="no way back"):
        scored("cycle_error", statistics())
