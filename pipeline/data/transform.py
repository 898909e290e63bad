"""What every transform of data/transforms is: one field of an example computed from another, on its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec

ConfigT = TypeVar("ConfigT", bound=Settings)


class Transform(ABC, Generic[ConfigT]):
    """A file in `transforms/` holds `Config` and one subclass named `Transform`, built from it.

    An example's result depends on its Config, the example and, where it draws, the example's number alone: not on the
    others of a batch, nor on how often it is computed. `ingest.derive` names the fields that are made so.
    """

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @abstractmethod
    def field(self, of: FieldSpec) -> FieldSpec:
        """What comes of the field `of`: its kind, shape, type, and whether it flips; `of`'s name stays.

        Raises:
            ValueError: saying what it takes, where `of` is something else.
        """

    @abstractmethod
    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        """Stored values (n, *of.shape) → (n, *shape), as the field that `field` describes is stored.

        numbers (n,): of these examples in their split, the counters of what is drawn.
        """
