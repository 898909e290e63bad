"""The Inception network's Fréchet distances against published tools' values."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.contract.moments import Moments
from pipeline.extractors import _shared, inception
from pipeline.metrics import frechet
from pipeline.networks.architectures.inception import Tap
from pipeline.types import DataSpec

DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PARTIAL = DATA / "inception-2015-12-05-to-Mixed_6e.safetensors"
CIFAR = DATA / "cifar10-first4000-binary.tar.xz"


class Records:
    """CIFAR-10 images as a split."""

    spec = DataSpec("image", (3, 32, 32))

    def __init__(self, x: NDArray[np.uint8]) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.uint8]]:
        return {"x": self.x[indices]}


@pytest.fixture(scope="module")
def records() -> NDArray[np.uint8]:
    for path in (PARTIAL, CIFAR):
        if not path.is_file():
            pytest.skip(f"{path} is not here")
    with tarfile.open(CIFAR) as archive:
        member = next(each for each in archive if each.name.endswith("data_batch_1.bin"))
        file = archive.extractfile(member)
        assert file is not None
        content = np.frombuffer(file.read(), dtype=np.uint8)
    return content.reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("tap", "expected"), [(64, 0.0102896), pytest.param(768, 0.1505701, marks=pytest.mark.long)])
def test_cifar_10_s_first_thousand_against_the_second(records: NDArray[np.uint8], tap: Tap, expected: float) -> None:
    torch.set_num_threads(2)
    extractor = inception.Extractor(inception.Config(weights=str(PARTIAL), tap=tap))
    first, second = Records(records[:1000]), Records(records[1000:2000])
    assert extractor.prepare(first, second, seed=0)["published"]
    moments = [Moments.of(_shared.measure(extractor, each).features) for each in (first, second)]
    assert frechet.distance(*moments) == pytest.approx(expected, rel=1e-4)
