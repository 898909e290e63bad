"""Scores against published values and other people's formulas."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from pipeline.contract.moments import Moments
from pipeline.metrics import frechet

DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture
def pool3() -> tuple[np.ndarray, np.ndarray]:
    """Inception pool3 features (n, 2048) of daisies and dandelions, and of the other flowers."""
    path = DATA / "flowers-inception-pool3-f16.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with np.load(path, allow_pickle=False) as found:
        features, names = found["features"].astype(np.float64), found["name"]
    first = np.array([str(name).split("/")[0] in {"daisy", "dandelion"} for name in names])
    return features[first], features[~first]


@pytest.mark.slow
def test_the_frechet_distance_of_real_pool3_features(pool3: tuple[np.ndarray, np.ndarray]) -> None:
    first, rest = pool3
    assert (len(first), len(rest)) == (1531, 2139)
    found = frechet.distance(Moments.of(first), Moments.of(rest))
    assert found == pytest.approx(126.72638871786427, rel=1e-6)


@pytest.mark.parametrize("count", [300, 40])
def test_it_is_scipy_s_matrix_root_to_rounding(count: int) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(count, 64)) @ draw.normal(size=(64, 64)), draw.normal(0.1, 2, size=(300, 64))
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    # √a·b·√a: scipy's root of a·b itself is only good to ~1e-6 where a has no full rank.
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b)
    expected -= 2 * np.trace(np.real(scipy.linalg.sqrtm(root @ b @ root)))
    assert frechet.distance(Moments.of(x), Moments.of(y)) == pytest.approx(expected, rel=1e-6)
