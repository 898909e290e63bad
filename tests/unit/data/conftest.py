"""Hand-made images and small packed data sets for the tests of the data room."""

from __future__ import annotations

import functools
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.packing import ingest
from pipeline.data.settings import IngestSettings
from pipeline.formats.shards import Manifest


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = Path(__file__).parents[3]
    folder = Path(os.environ.get("ZEROSUM_TEST_DATA", root / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set ZEROSUM_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def unpacked(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """unpacked("x.tar.xz") → a folder with what is in that archive of the real data."""

    @functools.cache
    def unpack(name: str) -> Path:
        if not (real_data / name).is_file():
            pytest.skip(f"{real_data / name} is absent")
        place = tmp_path_factory.mktemp(name.partition(".")[0])
        with tarfile.open(real_data / name) as tar:
            tar.extractall(place, filter="data")
        return place

    return unpack


@pytest.fixture
def noise() -> Callable[..., NDArray[np.uint8]]:
    """noise(seed, height, width, channels) → uint8 (H, W, C)."""

    def make(seed: int, height: int = 6, width: int = 5, channels: int = 3) -> NDArray[np.uint8]:
        return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)

    return make


@pytest.fixture
def png() -> Callable[..., bytes]:
    """png(pixels, format, **options) → the bytes of an image file."""

    def make(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, kind, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def folder_of(
    tmp_path: Path, noise: Callable[..., NDArray[np.uint8]], png: Callable[..., bytes]
) -> Callable[..., Path]:
    """folder_of(cats=3, dogs=2) → a folder with so many PNGs a class."""

    def make(name: str = "images", **classes: int) -> Path:
        for number, (label, count) in enumerate(classes.items()):
            (tmp_path / name / label).mkdir(parents=True)
            for item in range(count):
                (tmp_path / name / label / f"{item}.png").write_bytes(png(noise(1000 * number + item)))
        return tmp_path / name

    return make


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., tuple[Path, Manifest]]:
    """pack(source, out="shards", **settings) → the folder of shards and its manifest."""

    def make(source: dict[str, Any], out: str = "shards", **settings: Any) -> tuple[Path, Manifest]:
        place = tmp_path / out
        return place, ingest(IngestSettings(source=source, **settings), place)

    return make
