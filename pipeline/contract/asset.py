"""Assets: pretrained weights that others publish."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from pipeline.settings import Settings


class Asset(ABC):
    """A file in `assets/` holds a class `Asset`: one published set of weights, fetched by `zerosum weights fetch NAME`.

    url: where the public file is. sha256: of that file, whole, or as many of its first digits as its publisher gives.
    cached: what the converted file is called in the cache. licence: of the weights, as an SPDX name or in words.
    page: where the publisher describes them.
    """

    url: ClassVar[str]
    sha256: ClassVar[str]
    cached: ClassVar[str]
    licence: ClassVar[str]
    page: ClassVar[str]

    def __init__(self, config: Settings) -> None:
        self.config = config

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors of the public file that are used, by its names for them."""

    @abstractmethod
    def converted(self, path: Path) -> dict[str, Tensor]:
        """The tensors of the public file, checked, under the names of our network.

        Raises:
            UserError: if the file cannot be read without running code, or holds another network.
        """
