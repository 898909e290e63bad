from __future__ import annotations

import numpy as np
import pytest

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import Side, Statistics
from pipeline.metrics import kernel

WHO = ExtractorIdentity("classifier", "ab" * 32, 2)

CONFIG = kernel.Config()


def test_a_hand_counted_value() -> None:
    # d = 1, k(x, y) = (xy + 1)^3: within x: k(1, 2) = 27, within y: k(0, 3) = 1, across: 1, 64, 1, 343
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    assert kernel.unbiased(x, y, CONFIG) == pytest.approx(27 + 1 - 2 * (1 + 64 + 1 + 343) / 4)


def test_order_does_not_matter_and_sides_are_alike() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(30, 4)), draw.normal(1, 1, size=(40, 4))
    expected = kernel.unbiased(x, y, CONFIG)
    assert kernel.unbiased(y[::-1], draw.permutation(x), CONFIG) == pytest.approx(expected, rel=1e-12)


def test_it_is_unbiased_at_equal_distributions() -> None:
    draw = np.random.default_rng(1)
    values = np.array(
        [kernel.unbiased(draw.normal(size=(20, 3)), draw.normal(size=(25, 3)), CONFIG) for _ in range(400)]
    )
    assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(len(values))
    assert values.min() < 0 < values.max()


def test_a_shift_is_seen() -> None:
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(200, 3)), draw.normal(1, 1, size=(200, 3))
    assert kernel.unbiased(x, y, CONFIG) > 1


def test_subsets_are_sized_to_the_data_and_seeded() -> None:
    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(90, 3)), draw.normal(size=(60, 3))
    config = kernel.Config(subset_size=30, subsets=50)
    values = kernel.kernel_distances(x, y, config, seed=1)
    assert len(values) == kernel.VISITS * 3
    assert np.array_equal(values, kernel.kernel_distances(x, y, config, seed=1))
    assert not np.array_equal(values, kernel.kernel_distances(x, y, config, seed=2))


def test_few_examples_are_all_used_once() -> None:
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(10, 3)), draw.normal(size=(10, 3))
    assert kernel.kernel_distances(x, y, CONFIG, seed=0) == pytest.approx([kernel.unbiased(x, y, CONFIG)])
    with pytest.raises(ValueError, match="at least 2"):
        kernel.kernel_distances(x[:1], y, CONFIG, seed=0)


def test_the_score_names_its_extractor() -> None:
    side = Side.of(np.random.default_rng(5).normal(size=(10, 3)))
    (score,) = kernel.Metric(CONFIG).compute(Statistics(side, side, None, WHO, 0))
    assert score.name == "kernel_classifier"
    assert "1 subset" in score.note
