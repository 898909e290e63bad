from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from measured_toys import SPEC, Toy, on_ranks, toy_networks
from torch import nn

from pipeline.contract import LocalWorld
from pipeline.contract.moments import Moments
from pipeline.extractors import _shared as extractors
from pipeline.formats.reference import Reference
from pipeline.metrics import frechet
from pipeline.sampling.samples import SampleSource
from pipeline.scoring.in_training import WORST, InTrainingScorer, asked_labels, floor

FAMILY = Toy()


def test_it_answers_finite_floats_and_repeats(measured: Reference) -> None:
    scorer = InTrainingScorer(measured, FAMILY, 100, 3)
    networks = toy_networks(FAMILY)
    first = scorer(networks, LocalWorld())
    assert set(first) == {"frechet", "feature_spread", "recall", "score_samples", "nonfinite"}
    assert first["score_samples"] == 100
    assert all(isinstance(value, float | int) and np.isfinite(value) for value in first.values())
    assert scorer(networks, LocalWorld()) == first
    assert InTrainingScorer(measured, FAMILY, 100, 4)(networks, LocalWorld()) != first


def test_the_distance_is_that_of_the_very_samples(measured: Reference) -> None:
    networks = toy_networks(FAMILY)
    source = SampleSource(FAMILY, networks, SPEC)
    asked = asked_labels(measured, source, 3)
    made = source.sample(100, np.concatenate([asked(0), asked(1)])[:100], seed=3)
    extractor = measured.extractor()
    features = np.concatenate([extractors.extract(extractor, made[i : i + 64])[0] for i in (0, 64)])
    expected = frechet.distance(measured.moments("train"), Moments.of(features))
    found = InTrainingScorer(measured, FAMILY, 100, 3)(networks, LocalWorld())
    assert found["frechet"] == pytest.approx(expected, rel=1e-9)


def test_the_floor_is_what_a_perfect_generator_reads(measured: Reference) -> None:
    """Draws of train itself: above 0 by the bias of small n, and less so the more there are."""
    few, many = floor(measured, 40, 0), floor(measured, 4000, 0)
    assert few == floor(measured, 40, 0)
    assert 0 < many[0] < few[0]
    assert 0 < many[1] < few[1]
    source = np.random.default_rng(0)
    features = measured.features("train")
    by_hand = [
        frechet.distance(measured.moments("train"), Moments.of(features[source.integers(0, len(features), 40)]))
        for _ in range(30)
    ]
    assert abs(few[0] - np.mean(by_hand)) < 4 * np.std(by_hand)


@pytest.mark.parametrize("n", [64, 100, 300])
def test_any_number_of_ranks_gives_the_same_bits(measured: Reference, n: int) -> None:
    scorer = InTrainingScorer(measured, FAMILY, n, 0)
    networks = toy_networks(FAMILY)
    alone = scorer(networks, LocalWorld())
    for size in (2, 3):
        for answer in on_ranks(size, lambda world: scorer(copy.deepcopy(networks), world)):
            assert answer == alone


class Broken(nn.Module):
    """Non-finite for some samples."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = z[:, :1].expand(-1, 64).clone()
        x[z[:, 0] > 1] = float("nan")
        return x


def test_non_finite_samples_score_worst_and_say_so(measured: Reference) -> None:
    found = InTrainingScorer(measured, FAMILY, 128, 0)({"generator": Broken()}, LocalWorld())
    assert found["frechet"] == WORST
    assert 0 < found["nonfinite"] < 1


class Constant(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z[:, :1].expand(-1, 64) * 0


def test_a_collapsed_generator_has_no_spread(measured: Reference) -> None:
    found = InTrainingScorer(measured, Toy(False), 128, 0)({"generator": Constant()}, LocalWorld())
    assert found["feature_spread"] < 1e-6
    assert found["recall"] == 0.0
    assert found["nonfinite"] == 0.0


def test_classes_are_asked_for_as_often_as_train_has_them(measured: Reference) -> None:
    source = SampleSource(FAMILY, toy_networks(FAMILY), SPEC)
    asked = asked_labels(measured, source, 0)
    labels = np.concatenate([asked(chunk) for chunk in range(5)])
    train = measured.labels("train")
    assert np.array_equal(np.bincount(labels[: len(train)]), np.bincount(train))
    assert np.array_equal(labels[len(train) :], labels[: len(labels) - len(train)])
