"""Identity kept: closed forms, the floor beside it, and that only designs with an encoder have it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import PairBlock, Pairs, Score, Side, Statistics
from pipeline.errors import UserError
from pipeline.types import Array

RNG = np.random.default_rng(0)
TRUTH, MADE = (RNG.integers(0, 256, (5, 3, 2, 2), np.uint8) for _ in range(2))
REAL = RNG.normal(100, 30, (40, 12))


def seen(x: Array) -> Array:
    return x.reshape(len(x), -1).astype(np.float64)


def scored(made: Array, truth: Array, **keys: Any) -> dict[str, Score]:
    pairs = Pairs(
        len(made),
        lambda limit: iter([PairBlock(made[:2], truth[:2]), PairBlock(made[2:limit], truth[2:limit])]),
        features=seen,
        reconstructed=True,
    )
    found = Statistics(Side.of(REAL), Side(None), None, ExtractorIdentity("toy", "", 12), 0, pairs=pairs)
    return {each.name: each for each in plugins.load("metrics", {"name": "identity_kept", **keys}).compute(found)}


def test_it_is_the_cosine_of_features_less_their_mean() -> None:
    a, b = seen(TRUTH) - REAL.mean(0), seen(MADE) - REAL.mean(0)
    each = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    found = scored(MADE, TRUTH)
    score = found["identity_kept_toy"]
    assert score.each == pytest.approx(each)
    assert score.value == pytest.approx(each.mean())
    assert score.spread == pytest.approx(each.std(ddof=1))
    other = b[[1, 2, 3, 4, 0]]
    floor = (a * other).sum(1) / np.sqrt((a**2).sum(1) * (other**2).sum(1))
    assert found["identity_kept_toy_of_others"].value == pytest.approx(floor.mean())
    assert (score.split, score.n_real) == ("holdout", 5)


def test_the_same_images_keep_everything() -> None:
    found = scored(TRUTH, TRUTH)
    assert found["identity_kept_toy"].value == pytest.approx(1)
    assert found["identity_kept_toy_of_others"].value < 0.9


def test_one_example_has_no_other() -> None:
    with pytest.raises(UserError, match="two held-out examples"):
        scored(MADE[:1], TRUTH[:1])


def test_without_an_encoder_it_is_refused() -> None:
    bare = Statistics(Side.of(REAL), Side(None), None, ExtractorIdentity("toy", "", 12), 0)
    metric = plugins.load("metrics", {"name": "identity_kept"})
    assert "reconstructions" in metric.needs
    with pytest.raises(UserError, match="without an encoder"):
        metric.compute(bare)
    with pytest.raises(UserError, match="without an encoder"):
        metric.compute(replace(bare, pairs=Pairs(5, lambda limit: iter([]))))
