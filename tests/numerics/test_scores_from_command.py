"""The published constants, out of `zerosum score` itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PARTIAL = DATA / "inception-2015-12-05-to-Mixed_6e.safetensors"
CIFAR = DATA / "cifar10-first4000-binary.tar.xz"
POOL3 = DATA / "flowers-inception-pool3-f16.npz"


def zerosum(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    whole = ["zerosum", "score", *arguments, "--json"]
    code = f"import sys; sys.argv = {whole!r}\nfrom pipeline.cli.main import main; main()"
    environment = {**os.environ, "ZEROSUM_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def pool3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Daisies and dandelions, and the rest: features as .npy, statistics of the rest as .npz."""
    if not POOL3.is_file():
        pytest.skip(f"{POOL3} is not here")
    folder = tmp_path_factory.mktemp("pool3")
    with np.load(POOL3, allow_pickle=False) as found:
        features, names = found["features"], found["name"]
    first = np.array([str(name).split("/")[0] in {"daisy", "dandelion"} for name in names])
    np.save(folder / "first.npy", features[first])
    np.save(folder / "rest.npy", features[~first])
    rest = features[~first].astype(np.float64)
    np.savez(folder / "rest.npz", mu=rest.mean(axis=0), sigma=np.cov(rest, rowvar=False))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("rest", ["rest.npy", "rest.npz"])
def test_pool3_features_and_statistics(pool3: Path, rest: str) -> None:
    (record,) = zerosum(pool3, "--real", "first.npy", "--fake", rest, "--metrics", "fid")
    assert record["name"] == "frechet_features"
    assert record["value"] == pytest.approx(126.72638871786427, rel=1e-6)
    assert (record["n_real"], record["n_fake"]) == (1531, 2139 if rest == "rest.npy" else None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("tap", "expected"), [(64, 0.0102896), pytest.param(768, 0.1505701, marks=pytest.mark.long)])
def test_folders_of_cifar_10(tmp_path: Path, tap: int, expected: float) -> None:
    for path in (PARTIAL, CIFAR):
        if not path.is_file():
            pytest.skip(f"{path} is not here")
    with tarfile.open(CIFAR) as archive:
        file = archive.extractfile(next(each for each in archive if each.name.endswith("data_batch_1.bin")))
        assert file is not None
        content = np.frombuffer(file.read(), dtype=np.uint8).reshape(-1, 3073)
    for index, image in enumerate(content[:2000, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)):
        path = tmp_path / ("first" if index < 1000 else "second") / f"{index:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    sides = ("--real", "first", "--fake", "second", "--metrics", "fid")
    (record,) = zerosum(tmp_path, *sides, "--weights", str(PARTIAL), "--tap", str(tap))
    assert record["name"] == f"fid_{tap}"
    assert record["value"] == pytest.approx(expected, rel=1e-4)
    assert record["extractor"]["published"]
    assert record["resize"] == "legacy_torch"
