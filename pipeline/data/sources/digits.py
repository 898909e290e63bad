"""scikit-learn's packaged digits: 1,797 scans of 8×8, grey, ten classes; nothing to download."""

from __future__ import annotations

import functools
import importlib.util
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pipeline.data.source import DataSource, Entry, Limits
from pipeline.errors import SettingsError
from pipeline.settings import Settings


class Config(Settings):
    """The digits have no settings."""


class Source(DataSource[Config]):
    """`sklearn.datasets.load_digits`; its grey levels 0–16 become 0–255."""

    def check(self, where: str = "ingest.source") -> None:
        if importlib.util.find_spec("sklearn") is None:
            raise SettingsError(f"{where}.name: 'digits' needs scikit-learn, which is not installed")

    def native_shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    def classes(self) -> tuple[str, ...]:
        return tuple(str(digit) for digit in range(10))

    def entries(self) -> list[Entry]:
        _, labels = _digits()
        return [Entry(f"digits/{number:04d}", (number,), str(label)) for number, label in enumerate(labels)]

    def fetch(self, entry: Entry, limits: Limits) -> NDArray[np.uint8]:
        images, _ = _digits()
        return images[cast(tuple[int], entry.where)[0]][:, :, None]

    def decode(self, stored: NDArray[np.uint8], limits: Limits) -> NDArray[np.uint8]:
        return stored


@functools.lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (1797, 8, 8) and labels (1797,)."""
    from sklearn.datasets import load_digits  # heavy, and only this source needs it

    data, target = load_digits(return_X_y=True)
    levels = cast(NDArray[np.float64], data)
    images = np.rint(levels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return images, np.asarray(target, dtype=np.int64)
