"""Extractors: the examples they see, the base class of every file in `extractors/`, and how a score names one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.settings import Settings
from pipeline.types import DataSpec

ExtractorConfig = TypeVar("ExtractorConfig", bound=Settings)


class Examples(Protocol):
    """One split of the data, by position: what measuring asks of a reader."""

    @property
    def spec(self) -> DataSpec: ...

    def __len__(self) -> int: ...

    def examples(self, indices: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        """`x` (n, *spec.shape) in spec.dtype and, where labelled, `label` int64 (n,)."""
        ...


class Extractor(ABC, Generic[ExtractorConfig]):
    """Examples → features. A file in `extractors/` holds `Config` and a class `Extractor`.

    looks: False where it sees nothing, so that no score that compares features is taken.
    learns: `prepare` learns from the labels of the data.
    predicts: whose classes its logits are of; "nothing" where it gives none.
    verbatim: its features are the numbers of the example as they are.
    any_size: `features_of_sizes` brings images of any size to its own.
    incidental: keys of Config that change no number; they stay out of its identity.
    """

    looks: ClassVar[bool] = True
    learns: ClassVar[bool] = False
    predicts: ClassVar[Literal["nothing", "its own classes", "the data's classes"]] = "nothing"
    verbatim: ClassVar[bool] = False
    any_size: ClassVar[bool] = False
    incidental: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ExtractorConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Numbers in one feature vector."""

    @property
    def resize(self) -> str:
        """How images are brought to the network's size, for the records."""
        return "none"

    @abstractmethod
    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Get ready for this data (train, read weights, …); returns what is worth recording, such as `accuracy`.

        Raises:
            SettingsError: for data it cannot see.
            UserError: for weights that are missing or damaged, or a training that diverged.
        """

    @abstractmethod
    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x (n, *shape) in [-1, 1] → features (n, dimension) and, if it predicts, logits (n, classes)."""

    def smooth(self, x: Tensor) -> Tensor:
        """The features (n, dimension) of x (n, *shape) without rounding to pixels: for small differences."""
        return self.features(x)[0]

    def features_of_sizes(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """As `features`, of images (C, H, W) each of its own size; called only where `any_size`."""
        raise NotImplementedError

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """All that it is, as tensors."""

    @abstractmethod
    def load(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        """Be again what `state_dict` was taken from."""

    @classmethod
    def check(cls, spec: DataSpec) -> None:
        """Refuse data that it cannot see.

        Raises:
            SettingsError: naming an extractor that would do.
        """

    @classmethod
    def about(cls, config: ExtractorConfig) -> dict[str, Any] | None:
        """What `prepare` would return of its weights (`weights_sha256`, `published`); None where it has none.

        Raises:
            UserError: if the weights are not here.
        """
        return None

    @classmethod
    def files(cls, config: ExtractorConfig) -> dict[str, Path]:
        """Files outside the project that the settings name, by key."""
        return {}

    @classmethod
    def variants(cls) -> tuple[dict[str, Any], ...]:
        """Settings under which its scores go by different names."""
        return ({},)

    @classmethod
    def published_as(cls, identity: ExtractorIdentity) -> Mapping[str, str] | None:
        """The field's own names of `frechet`, `kernel` and `score` where these are the published weights."""
        return None

    @classmethod
    def without_logits(cls, identity: ExtractorIdentity) -> str | None:
        """Why it gives no logits under this identity, as part of a sentence; None where it does."""
        return f"it needs a classifier, and '{identity.name}' is none" if cls.predicts == "nothing" else None


AnyExtractor = Extractor[Any]


@dataclass(frozen=True)
class ExtractorIdentity:
    """Which features: what a score's name and protocol need to know of whoever extracted them.

    name: a file of extractors/, or `features` for ready-made ones. sha256: of its weights; empty
    where there are none. tap: the layer of the Inception network. published: whether these are, as
    far as the tap, the weights of the published scores. alpha: what became of a fourth channel.
    accuracy: held-out accuracy of one that was trained here.
    """

    name: str
    sha256: str
    dimension: int
    tap: int | None = None
    published: bool = False
    alpha: str | None = None
    accuracy: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; null where a value does not apply."""
        first: dict[str, Any] = {"name": self.name, "tap": self.tap, "sha256": self.sha256 or None}
        return {**first, **{name: value for name, value in asdict(self).items() if name not in first}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExtractorIdentity:
        """The inverse of `to_json`."""
        whole: dict[str, Any] = {**data, "sha256": data.get("sha256") or ""}
        return cls(**whole)

    def same(self, other: ExtractorIdentity) -> bool:
        """Whether both see alike: the published network is the same one in any file."""
        mine, others = ((each.name, each.dimension, each.tap, each.alpha) for each in (self, other))
        return mine == others and (self.sha256 == other.sha256 or (self.published and other.published))


def identity_of(
    name: str, config: Mapping[str, Any], dimension: int, report: Mapping[str, Any], sha256: str
) -> ExtractorIdentity:
    """An extractor's identity from its Config and what `prepare` answered; `sha256` where that names no weights."""
    return ExtractorIdentity(
        name=name,
        sha256=report.get("weights_sha256", sha256),
        dimension=dimension,
        tap=config.get("tap"),
        published=bool(report.get("published", False)),
        alpha=config.get("alpha"),
        accuracy=report.get("accuracy"),
    )
