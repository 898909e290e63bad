from __future__ import annotations

import os
import tarfile
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.errors import SettingsError, UserError
from pipeline.extractors import _shared, classifier
from pipeline.extractors._classifier_network import Classifier
from pipeline.types import DataSpec, Modality

ROOT = Path(__file__).parents[3]
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


class Rows:
    """Examples of any modality, each class a signal of its own under noise."""

    def __init__(self, spec: DataSpec, count: int, signals: NDArray[np.float32]) -> None:
        self.spec = spec
        self.labels = np.random.default_rng(count).integers(0, len(signals), count)
        noise = np.random.default_rng(count + 1).normal(0, 0.3, (count, *spec.shape)).astype(np.float32)
        self.x = signals[self.labels] + noise

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        return {"x": self.x[indices], "label": self.labels[indices]}


def tones(length: int) -> NDArray[np.float32]:
    """Two pitches; only the frequency tells them apart."""
    time = np.arange(length) / length
    return np.stack([np.sin(2 * np.pi * cycles * time) for cycles in (40, 90)])[:, None].astype(np.float32)


def halves(shape: tuple[int, ...], axis: int) -> NDArray[np.float32]:
    """Brighter in one half of an axis or the other."""
    side = shape[axis]
    ramp = np.where(np.arange(side) < side // 2, 0.5, -0.5).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.stack([np.broadcast_to(ramp, shape), np.broadcast_to(-ramp, shape)]).astype(np.float32)


MODALITIES: dict[str, tuple[DataSpec, NDArray[np.float32]]] = {
    "waveform": (DataSpec("waveform", (1, 1000), TWO, "float32"), tones(1000)),
    "voxels": (DataSpec("voxels", (1, 8, 9, 8), TWO, "float32"), halves((1, 8, 9, 8), 1)),
    "video": (DataSpec("video", (3, 6, 12, 10), TWO, "float32"), halves((3, 6, 12, 10), 1)),
    # Columns of very different scales, as tables have them.
    "rows": (DataSpec("rows", (2,), TWO, "float32"), np.array([[0, 2], [1, 2]], dtype=np.float32)),
}


@pytest.mark.slow
@pytest.mark.parametrize("modality", sorted(MODALITIES))
def test_every_modality_is_learnt(modality: str) -> None:
    spec, signals = MODALITIES[modality]
    extractor = classifier.Extractor(SMALL)
    report = extractor.prepare(Rows(spec, 160, signals), Rows(spec, 60, signals), seed=0)
    assert report["accuracy"] >= 0.93, "two noisy columns overlap; everything else does not"
    features, _ = _shared.extract(extractor, Rows(spec, 7, signals).x)
    assert features.shape == (7, SMALL.dimension)


def test_columns_of_any_scale_are_brought_to_one() -> None:
    spec, signals = MODALITIES["rows"]
    data = Rows(spec, 160, signals)
    far = Rows(spec, 160, signals)
    far.x = far.x * np.array([1e4, 1e-3], dtype=np.float32) + np.array([5e4, 0], dtype=np.float32)
    assert classifier.Extractor(SMALL).prepare(far, far, seed=0)["accuracy"] == pytest.approx(
        classifier.Extractor(SMALL).prepare(data, data, seed=0)["accuracy"], abs=0.03
    )


@pytest.mark.parametrize(
    ("modality", "shape"), [("waveform", (2, 7)), ("voxels", (1, 2, 2, 2)), ("video", (1, 3, 4, 4)), ("rows", (1,))]
)
def test_the_smallest_of_every_modality(modality: Modality, shape: tuple[int, ...]) -> None:
    network = Classifier(DataSpec(modality, shape, TWO, "float32"), 4, 6).eval()
    features, logits = network(torch.randn(3, *shape))
    assert features.shape == (3, 6)
    assert logits.shape == (3, 2)


def test_a_waveform_is_shifted_in_time_and_a_row_is_not() -> None:
    source = torch.Generator().manual_seed(0)
    wave = torch.arange(20.0).repeat(6, 1)[:, None]
    moved = classifier._shifted(wave, 0.2, source)  # pyright: ignore[reportPrivateUsage]
    for before, after in zip(wave[:, 0], moved[:, 0], strict=True):
        move = int(after[10] - before[10])
        assert -4 <= move <= 4
        assert after.tolist() == [min(max(step + move, 0), 19) for step in range(20)]
    rows = torch.randn(5, 8)
    assert torch.equal(classifier._shifted(rows, 0.2, source), rows)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.long
def test_spoken_digits_are_recognised() -> None:
    """Six speakers, ten digits: far above the tenth that guessing would give."""
    archive = Path(os.environ.get("ZEROSUM_TEST_DATA", ROOT.parent / "shared" / "data")) / "free-spoken-digits.tar.xz"
    if not archive.exists():
        pytest.skip(f"no spoken digits at {archive}")
    spec = DataSpec("waveform", (1, 4096), tuple("0123456789"), "float32")
    train, holdout = (Rows(spec, 1, np.zeros((1, 1, 4096), np.float32)) for _ in range(2))
    found: dict[bool, list[tuple[NDArray[np.float32], int]]] = {True: [], False: []}
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.name.endswith(".wav"):
                continue
            digit, _, take = Path(member.name).stem.split("_")
            data = tar.extractfile(member)
            assert data is not None
            with wave.open(data) as sound:
                samples = np.frombuffer(sound.readframes(4096), dtype="<i2").astype(np.float32) / 32768
            found[int(take) >= 10].append((np.pad(samples, (0, 4096 - len(samples))), int(digit)))
    for split, side in ((train, True), (holdout, False)):
        split.x = np.stack([samples for samples, _ in found[side]])[:, None]
        split.labels = np.array([digit for _, digit in found[side]])
    config = classifier.Config(examples=15_000)
    assert classifier.Extractor(config).prepare(train, holdout, seed=0)["accuracy"] >= 0.8


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
