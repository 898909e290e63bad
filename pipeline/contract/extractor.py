"""Features: what an extractor looks at, what it has to offer, and how a score names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.types import DataSpec

BLIND = "none"


class Examples(Protocol):
    """One split of the data, by position: what measuring asks of a reader."""

    @property
    def spec(self) -> DataSpec: ...

    def __len__(self) -> int: ...

    def examples(self, indices: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
        """`x` (n, *spec.shape) in spec.dtype and, where labelled, `label` int64 (n,)."""
        ...


class Extractor(Protocol):
    """Examples → features. A file in `extractors/` holds `Config` and a class `Extractor`."""

    @property
    def dimension(self) -> int:
        """Numbers in one feature vector."""
        ...

    def prepare(self, train: Examples, holdout: Examples, seed: int) -> dict[str, Any]:
        """Get ready for this data (train, fetch, …); answers what is worth recording (`accuracy`)."""
        ...

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x (n, *shape) in [-1, 1] → features (n, dimension) and, if it classifies, logits (n, classes)."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load(self, spec: DataSpec, state: Mapping[str, Tensor]) -> None:
        """Be again what `state_dict` was taken from."""
        ...


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
        """Plain values, null for what there is none of."""
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
