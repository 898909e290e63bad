from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.extractors import _shared, classifier
from pipeline.settings import SettingsError, UserError
from pipeline.types import DataSpec

SMALL = classifier.Config(examples=3000, width=4, dimension=8, batch_size=16)
TWO = ("up", "down")


class Stripes:
    """Images whose brighter half, upper or lower, is their class."""

    def __init__(
        self, count: int, shape: tuple[int, ...] = (1, 8, 8), classes: tuple[str, ...] = ("up", "down")
    ) -> None:
        self.spec = DataSpec("image", shape, classes)
        self.labels = (np.arange(count) % 2).astype(np.int64)
        self.x = np.random.default_rng(count).integers(0, 120, (count, *shape), dtype=np.uint8)
        half = shape[1] // 2
        self.x[self.labels == 0, :, :half] += 100
        self.x[self.labels == 1, :, half:] += 100

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        return {"x": self.x[indices], "label": self.labels[indices]}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_it_learns_and_says_how_well() -> None:
    extractor = classifier.Extractor(SMALL)
    report = extractor.prepare(Stripes(120), Stripes(41), seed=0)
    assert report["accuracy"] == 1.0
    features, logits = _shared.extract(extractor, Stripes(10).x)
    assert features.shape == (10, 8)
    assert logits is not None
    assert logits.argmax(axis=1).tolist() == [0, 1] * 5
    assert features.min() >= 0


def test_the_same_seed_gives_the_same_bytes_and_leaves_torch_s_alone() -> None:
    before = torch.get_rng_state()
    states = []
    for seed in (0, 0, 1):
        extractor = classifier.Extractor(classifier.Config(examples=200, width=4, dimension=4))
        extractor.prepare(Stripes(60), Stripes(20), seed)
        states.append(extractor.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("shape", [(3, 20, 28), (4, 13, 9), (1, 3, 3), (1, 1, 64)])
def test_any_channels_and_rectangle(shape: tuple[int, ...]) -> None:
    extractor = classifier.Extractor(classifier.Config(examples=128, width=4, dimension=6, batch_size=32))
    extractor.prepare(Stripes(40, shape), Stripes(20, shape), seed=0)
    features, _ = _shared.extract(extractor, Stripes(7, shape).x)
    assert features.shape == (7, 6)
    assert np.isfinite(features).all()


def test_an_example_s_features_don_t_depend_on_its_company() -> None:
    extractor = classifier.Extractor(classifier.Config(examples=128, width=4, dimension=6))
    data = Stripes(100)
    extractor.prepare(data, Stripes(20), seed=0)
    whole = _shared.measure(extractor, data).features
    alone, _ = _shared.extract(extractor, data.x[64:70])
    assert np.array_equal(whole[64:70], alone)


def test_it_loads_what_it_saved() -> None:
    extractor, again = classifier.Extractor(SMALL), classifier.Extractor(SMALL)
    data = Stripes(64)
    extractor.prepare(data, data, seed=0)
    again.load(data.spec, extractor.state_dict())
    assert np.array_equal(_shared.extract(extractor, data.x)[0], _shared.extract(again, data.x)[0])


def test_unlabelled_data_are_told_what_to_do() -> None:
    data = Stripes(20, classes=())
    with pytest.raises(SettingsError, match=r"learns from labels.*\{name: random_projection\}"):
        classifier.Extractor(SMALL).prepare(data, data, seed=0)


def test_other_modalities_are_refused() -> None:
    with pytest.raises(SettingsError, match="sees images"):
        classifier.check(DataSpec("waveform", (1, 800), ("a", "b")))


def test_diverging_training_says_which_setting() -> None:
    config = classifier.Config(examples=640, width=4, dimension=4, lr=1e30)
    with pytest.raises(UserError, match=r"lower reference\.extractor\.lr"):
        classifier.Extractor(config).prepare(Stripes(64), Stripes(20), seed=0)


@pytest.mark.slow
def test_handwritten_digits_are_recognised() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)[:, None]
    spec = DataSpec("image", (1, 16, 16), tuple("0123456789"))
    order = np.random.default_rng(0).permutation(len(x))

    class Digits(Stripes):
        def __init__(self, index: NDArray[np.int64]) -> None:
            self.spec, self.x, self.labels = spec, x[index], digits.target[index].astype(np.int64)

    train, holdout = Digits(order[:1437]), Digits(order[1437:])
    assert classifier.Extractor(classifier.Config()).prepare(train, holdout, seed=0)["accuracy"] >= 0.97
