"""Every file of `metrics/` keeps the room's contract."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from pipeline import plugins
from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.metric import (
    AnyMetric,
    CaptionChoice,
    Captions,
    LabelMaps,
    MapBlock,
    Need,
    PairBlock,
    Pairs,
    Side,
    Statistics,
)
from pipeline.settings import Settings
from pipeline.types import Column

METRICS = plugins.names("metrics")


def statistics(seed: int = 0, fake_seed: int = 1) -> Statistics:
    draw, other = np.random.default_rng(7), np.random.default_rng(fake_seed)

    def side(source: np.random.Generator, n: int, shift: float = 0.0) -> Side:
        labels = np.arange(n) % 3
        features = source.normal(shift, 1, (n, 5)).astype(np.float32)
        found = Side.of(features, source.normal(size=(n, 3)) + 2 * np.eye(3)[labels], labels)
        return replace(found, examples=source.integers(0, 256, (n, 1, 3, 4, 5), np.uint8))

    who = ExtractorIdentity("toy", "ab" * 32, 5)
    columns = (Column("n"), Column("m", std=2.0), Column("k", ("x", "y", "z")))
    truth = draw.integers(0, 256, (20, 3, 12, 12), np.uint8)
    made = np.clip(truth + other.integers(0, 9, truth.shape), 0, 255).astype(np.uint8)
    right = np.arange(6)[None] == (np.arange(30) % 6)[:, None]
    fits = right + draw.normal(0, 0.1, right.shape)
    chosen = CaptionChoice(fits + other.normal(size=right.shape), fits, right, "somebody")
    captions = Captions(lambda limit, among: chosen)
    pairs = Pairs(
        20,
        lambda limit: iter([PairBlock(made[:limit], truth[:limit], truth[:limit, :1])]),
        "the input",
        lambda x: x.reshape(len(x), -1)[:, :5].astype(np.float64),
    )
    sides = (side(draw, 60), side(other, 50, 0.3), side(draw, 20))
    cycles = {"x": pairs, "unpaired": pairs}
    places = (truth[:, 0] > 127).astype(np.int64)
    maps = LabelMaps(
        2, 20, 20, lambda numbers: MapBlock(truth[numbers], places[numbers]),
        lambda limit: iter([MapBlock(truth[:limit], places[:limit], made[:limit])]),
    )  # fmt: skip
    return Statistics(
        *sides,
        who,
        seed,
        True,
        ("a", "b", "c"),
        pairs=pairs,
        cycles=cycles,
        label_maps=maps,
        columns=columns,
        captions=captions,
    )


@pytest.mark.parametrize("name", METRICS)
def test_it_has_a_config_and_names_its_needs(name: str) -> None:
    module = plugins.module("metrics", name)
    assert issubclass(module.Config, Settings)
    metric: AnyMetric = plugins.load("metrics", {"name": name})
    assert metric.needs <= set(get_args(Need))
    assert metric.needs
    assert metric.rows >= 0


@pytest.mark.parametrize("name", METRICS)
def test_it_gives_finite_named_scores_that_repeat(name: str) -> None:
    metric: AnyMetric = plugins.load("metrics", {"name": name})
    scores = metric.compute(statistics())
    assert scores
    assert scores == metric.compute(statistics())
    for score in scores:
        assert re.fullmatch(r"[a-z0-9_]+", score.name)
        assert type(score.value) is float
        assert np.isfinite(score.value)
        assert score.n_fake > 0
        assert (score.n_real > 0) == (score.split is not None)


@pytest.mark.parametrize("name", METRICS)
def test_its_names_don_t_claim_to_be_inception_s(name: str) -> None:
    metric: AnyMetric = plugins.load("metrics", {"name": name})
    for score in metric.compute(statistics()):
        assert score.name not in {"fid", "kid", "inception_score"}


def test_no_two_metrics_report_one_name() -> None:
    names = [score.name for name in METRICS for score in plugins.load("metrics", {"name": name}).compute(statistics())]
    assert len(names) == len(set(names))
