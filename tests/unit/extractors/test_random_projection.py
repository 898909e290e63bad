from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.extractors import _shared, random_projection
from pipeline.types import DataSpec


class Plain:
    spec = DataSpec("image", (3, 5, 7))
    x = np.random.default_rng(0).integers(0, 256, (90, 3, 5, 7), dtype=np.uint8)

    def __len__(self) -> int:
        return 90

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return {"x": self.x[indices]}


def test_unlabelled_examples_have_features_and_no_logits() -> None:
    extractor = random_projection.Extractor(random_projection.Config(dimension=2000))
    assert extractor.prepare(Plain(), Plain(), seed=0) == {}
    measured = _shared.measure(extractor, Plain())
    assert measured.labels.tolist() == [-1] * 90
    assert _shared.extract(extractor, Plain.x[:2])[1] is None
    # Johnson–Lindenstrauss: lengths survive to about 1/√dimension.
    pixels = Plain.x[:1].reshape(-1) / 127.5 - 1
    assert np.linalg.norm(measured.features[0]) / np.linalg.norm(pixels) == np.clip(
        np.linalg.norm(measured.features[0]) / np.linalg.norm(pixels), 0.9, 1.1
    )


def test_it_loads_what_it_saved_and_is_seeded() -> None:
    made = [random_projection.Extractor(random_projection.Config(dimension=4)) for _ in range(3)]
    for extractor, seed in zip(made, (0, 0, 1), strict=True):
        extractor.prepare(Plain(), Plain(), seed)
    assert torch.equal(made[0].directions, made[1].directions)
    assert not torch.equal(made[0].directions, made[2].directions)
    made[2].load(Plain.spec, made[0].state_dict())
    assert torch.equal(made[0].directions, made[2].directions)
