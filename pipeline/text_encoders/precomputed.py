"""Vectors that another encoder made of the captions, as `ingest.source.caption_vectors` names them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pipeline import captions
from pipeline.contract import text_encoder as contract
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.types import DataSpec


class Config(Settings):
    """Nothing to set."""


class TextEncoder(contract.TextEncoder[Config]):
    """Each caption's vector as it was stored; there is nobody here who could read another sentence."""

    reads = captions.VECTORS
    sentences = False
    _dimension = 0

    @property
    def dimension(self) -> int:
        return self._dimension

    def check(self, spec: DataSpec, where: str) -> None:
        found = spec.field(self.reads)
        if found is None or found.kind != "tensor" or len(found.shape) != 2:
            raise SettingsError(
                f"{where}: precomputed takes the vectors of captions, and the data has none; set "
                "ingest.source.captions and ingest.source.caption_vectors"
            )

    def prepare(self, spec: DataSpec) -> None:
        found = spec.field_shape(self.reads)
        assert found is not None  # `check` comes first
        self._dimension = found[1]

    def encode(self, sentences: Sequence[str]) -> Tensor:
        raise SettingsError("encoder: precomputed knows the vectors of the data's captions, and reads no sentence")

    def forward(self, stored: Tensor) -> Tensor:
        return stored
