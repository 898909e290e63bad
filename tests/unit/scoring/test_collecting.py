from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import AnyMetric, Side, Statistics
from pipeline.contract.moments import Moments
from pipeline.metrics import frechet, inception_score
from pipeline.scoring.collecting import CollectionPlan, FeatureAccumulator, planned

WHO = ExtractorIdentity("classifier", "ab" * 32, 4)
FEATURES = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
LOGITS = (np.random.default_rng(1).normal(size=(300, 6)) * 2).astype(np.float32)
LABELS = np.arange(300) % 3


def collected(plan: CollectionPlan, cuts: list[int], seed: int = 0) -> Side:
    collector = FeatureAccumulator(plan, seed)
    edges = [0, *sorted(set(cuts)), plan.count]
    for begin, end in itertools.pairwise(edges):
        collector.take(FEATURES[begin:end], LOGITS[begin:end], LABELS[begin:end])
    return collector.side()


@given(st.lists(st.integers(1, 299), max_size=12), st.sampled_from([0, 10, 300]), st.integers(1, 10))
@settings(deadline=None, max_examples=40)
def test_how_blocks_are_cut_changes_nothing_beyond_rounding(cuts: list[int], rows: int, splits: int) -> None:
    plan = CollectionPlan(300, rows=rows, splits=splits, head=70)
    found, whole = collected(plan, cuts), collected(plan, [])
    assert isinstance(found.moments, Moments)
    assert isinstance(whole.moments, Moments)
    assert found.moments.count == 300
    np.testing.assert_allclose(found.moments.sum, whole.moments.sum, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(found.moments.outer, whole.moments.outer, rtol=1e-12, atol=1e-10)
    assert found.head is not None
    assert found.head.count == 70
    np.testing.assert_allclose(found.head.sum, FEATURES[:70].astype(np.float64).sum(axis=0), rtol=1e-10, atol=1e-10)
    assert found.predictions is not None
    assert whole.predictions is not None
    np.testing.assert_allclose(found.predictions.scores(), whole.predictions.scores(), rtol=1e-12)
    assert np.array_equal(found.predictions.recognised, LOGITS.argmax(axis=1))
    assert np.array_equal(found.labels, LABELS)
    if rows:
        assert found.features is not None
        kept = np.arange(300) if found.kept is None else found.kept
        assert np.array_equal(found.features, FEATURES[kept])
        assert np.array_equal(found.row_labels(), LABELS[kept])


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_the_order_of_samples_does_not_matter(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(300)
    one, other = Side.of(FEATURES, LOGITS), Side.of(FEATURES[order], LOGITS[order])
    real = Side.of(FEATURES * 1.5 + 1)
    for metric in (frechet.Metric(frechet.Config()), inception_score.Metric(inception_score.Config())):
        values = [metric.compute(Statistics(real, side, None, WHO, 0))[0].value for side in (one, other)]
        assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_only_what_the_metrics_look_at_is_kept() -> None:
    def loaded(*names: str) -> list[AnyMetric]:
        return [plugins.load("metrics", {"name": name}) for name in names]

    assert planned(loaded("frechet", "inception_score", "label_agreement"), 300).rows == 0
    assert collected(planned(loaded("frechet"), 300), [100]).features is None
    few = plugins.load("metrics", {"name": "precision_recall", "limit": 40})
    side = collected(planned([few, *loaded("frechet")], 300), [64, 128, 192])
    assert side.rows().shape == (40, 4)
    assert len(side) == 300
    assert planned([plugins.load("metrics", {"name": "inception_score", "splits": 10})], 300).splits == 10


def test_more_or_fewer_rows_than_planned_are_a_mistake_of_ours() -> None:
    collector = FeatureAccumulator(CollectionPlan(10), 0)
    with pytest.raises(RuntimeError, match="more came"):
        collector.take(FEATURES[:11], None, None)
    with pytest.raises(RuntimeError, match="0 came"):
        collector.side()
