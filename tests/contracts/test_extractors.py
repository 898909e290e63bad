"""Every file of `extractors/` keeps the room's contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from pipeline import plugins
from pipeline.contract.extractor import AnyExtractor
from pipeline.errors import SettingsError
from pipeline.extractors import _shared
from pipeline.networks.architectures.inception import shapes
from pipeline.settings import Settings
from pipeline.types import DataSpec

EXTRACTORS = plugins.names("extractors")
QUICK: dict[str, dict[str, Any]] = {"classifier": {"examples": 128, "width": 4, "dimension": 8}}


@pytest.fixture(scope="module", autouse=True)
def _weights(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The Inception network's weights are not here: random ones, as far as the first tap."""
    draw = torch.Generator().manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file({name: torch.randn(shape, generator=draw) for name, shape in shapes(64).items()}, path)
    QUICK["inception"] = {"weights": str(path), "tap": 64}


class Noise:
    """Labelled noise: images, or rows for an extractor that refuses images."""

    spec = DataSpec("image", (3, 8, 12), ("a", "b"))

    def __init__(self, count: int, name: str = "") -> None:
        self.x = np.random.default_rng(count).integers(0, 256, (count, 3, 8, 12), dtype=np.uint8)
        try:
            plugins.class_of("extractors", name or "random_projection").check(self.spec)
        except SettingsError:
            self.spec = DataSpec("rows", (6,), ("a", "b"), "float32")
            self.x = self.x.reshape(count, -1)[:, :6].astype(np.float32)

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {"x": self.x[indices], "label": indices % 2}


def ready(name: str, seed: int = 0) -> AnyExtractor:
    torch.set_num_threads(1)
    extractor: AnyExtractor = plugins.load("extractors", {"name": name, **QUICK.get(name, {})})
    report = extractor.prepare(Noise(80, name), Noise(20, name), seed)
    assert all(isinstance(value, float | int | str) for value in report.values())
    return extractor


@pytest.mark.parametrize("name", EXTRACTORS)
def test_it_has_a_config_and_gives_features_of_its_dimension(name: str) -> None:
    assert issubclass(plugins.module("extractors", name).Config, Settings)
    extractor = ready(name)
    features, logits = _shared.extract(extractor, Noise(30, name).x)
    assert features.shape == (30, extractor.dimension)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert logits is None or logits.shape == (30, 2)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_its_state_is_all_it_is(name: str) -> None:
    extractor = ready(name)
    again: AnyExtractor = plugins.load("extractors", {"name": name, **QUICK.get(name, {})})
    noise = Noise(64, name)
    again.load(noise.spec, extractor.state_dict())
    x = noise.x
    assert np.array_equal(_shared.extract(extractor, x)[0], _shared.extract(again, x)[0])


@pytest.mark.parametrize("name", EXTRACTORS)
def test_it_is_prepared_alike_from_one_seed(name: str) -> None:
    one, two = ready(name).state_dict(), ready(name).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
