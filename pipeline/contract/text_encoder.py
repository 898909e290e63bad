"""Text encoders: what a file in `text_encoders/` makes of a caption, and what it has to know of the data for that.

Those that learn are trained by the reference stage, on what its extractor sees in the pictures beside the captions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import captions
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.types import Array, DataSpec

EncoderConfig = TypeVar("EncoderConfig", bound=Settings)


@dataclass(frozen=True)
class Captioned:
    """Pictures as the reference's extractor sees them, with their captions.

    features: float32 (n, d). stored: the captions as shards hold them, uint8 (n, K, L), a row of zeros for none.
    labels: int64 (n,), -1 where nothing is labelled. classes: how many there are.
    """

    features: NDArray[np.float32]
    stored: Array
    labels: NDArray[np.int64]
    classes: int = 0

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Learnt:
    """What came of a training. report: plain values worth recording.

    weight (d, dimension), bias (dimension,): the map of the extractor's features f to the vectors' space that was
    learnt with it, f·weight + bias. A picture and a caption fit as far as the product of the two is large.
    """

    weight: Tensor
    bias: Tensor
    report: dict[str, Any]


class TextEncoder(nn.Module, ABC, Generic[EncoderConfig]):
    """A frozen network: captions → vectors. A file in `text_encoders/` holds `Config` and a class `TextEncoder`.

    It is a network of the family that uses it, owned by no player, and published beside the generator: so a model
    reads sentences wherever it is opened. What it has learnt of the data stands in buffers of whole numbers, which
    training leaves as they are.

    reads: the field of a batch that `forward` takes.
    sentences: whether it reads any sentence; else it knows those of the data alone.
    learns: the reference stage trains it (`reference.text_encoder`), and training hands its weights to the family.
    shape: keys of Config that decide what its tensors are, and what is read of a caption.
    """

    reads: ClassVar[str] = captions.FIELD
    sentences: ClassVar[bool] = True
    learns: ClassVar[bool] = False
    shape: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Numbers in a vector; known once `prepare` has seen the data."""

    def check(self, spec: DataSpec, where: str) -> None:
        """Refuse data without the field that it reads.

        Raises:
            SettingsError: about the key `where`.
        """
        found = spec.field(self.reads)
        if found is None or found.kind != "text" or len(found.shape) != 2 or found.dtype != "uint8":
            raise SettingsError(
                f"{where}: {type(self).__module__.rpartition('.')[2]} reads captions, and the data has none; "
                "set ingest.source.captions"
            )

    def prepare(self, spec: DataSpec) -> None:
        """Look at the data it is built for; tensors are made on torch's default device, and the meta device will do."""

    def learn(
        self, train: Captioned, holdout: Captioned, seed: int, progress: Callable[[str], None] = lambda _: None
    ) -> Learnt:
        """Train it on pictures and their captions; called only where it `learns`. Equal calls give equal bytes.

        Raises:
            UserError: for data that it cannot learn from, or a training that diverged.
        """
        raise NotImplementedError

    @abstractmethod
    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Sentences → float32 (n, dimension) on the CPU; equal sentences give equal rows, whatever is beside them."""

    def forward(self, stored: Tensor) -> Tensor:
        """Captions as batches hold them, (n, length) → (n, dimension), on their device."""
        if stored.is_meta:
            return stored.new_empty((len(stored), self.dimension), dtype=torch.float32)
        return self.encode(captions.unpacked(stored.cpu().numpy())).to(stored.device)


AnyTextEncoder = TextEncoder[Any]
