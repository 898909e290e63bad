"""The measuring stick on disk: an extractor, and the statistics and features of the real data.

    reference/reference.json           what was measured, with what; sha256 of every file; written last
    reference/extractor.safetensors    the extractor's weights
    reference/moments.safetensors      count, sum and outer product of either split, float64
    reference/<split>_features.npy     float32 (n, d), in the split's own order
    reference/<split>_labels.npy       int64 (n,), -1 where nothing is labelled

It is keyed by content (manifest, extractor, resizing), never by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline import plugins
from pipeline.formats import files
from pipeline.settings import UserError
from pipeline.types import DataSpec

FORMAT_VERSION = 1
MADE_BY = "the reference stage"
Split = Literal["train", "holdout"]
SPLITS: tuple[Split, ...] = ("train", "holdout")
Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]


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


@dataclass
class Moments:
    """Mergeable float64 statistics of features: count, Σx (d,) and Σxxᵀ (d, d)."""

    count: int
    sum: Floats
    outer: Floats

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    @classmethod
    def of(cls, features: ArrayLike, chunk: int = 4096) -> Moments:
        """The moments of features (n, d), `chunk` rows at a time."""
        rows = np.asarray(features)
        found = cls.empty(rows.shape[1])
        for begin in range(0, len(rows), chunk):
            found.update(rows[begin : begin + chunk])
        return found

    def update(self, features: ArrayLike) -> None:
        """Take in more features (n, d)."""
        rows = np.asarray(features, dtype=np.float64)
        self.count += len(rows)
        self.sum += rows.sum(axis=0)
        self.outer += rows.T @ rows

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets together; neither is changed."""
        return Moments(self.count + other.count, self.sum + other.sum, self.outer + other.outer)

    @property
    def dimension(self) -> int:
        return len(self.sum)

    @property
    def mean(self) -> Floats:
        if self.count < 1:
            raise UserError("a mean needs at least one example; there is none")
        return self.sum / self.count

    @property
    def covariance(self) -> Floats:
        """Unbiased (n − 1), as np.cov of the rows.

        Raises:
            UserError: for fewer than two rows.
        """
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 examples, and here is {self.count}")
        mean = self.mean
        found = (self.outer - self.count * np.outer(mean, mean)) / (self.count - 1)
        return (found + found.T) / 2


@dataclass(frozen=True)
class ReferenceCard:
    """What was measured and with what; `report` is the extractor's own account (held-out accuracy, …)."""

    manifest_sha256: str
    spec: DataSpec
    extractor: str
    config: dict[str, Any]
    extractor_sha256: str
    dimension: int
    resize: str
    seed: int
    threads: int
    counts: dict[str, int]
    report: dict[str, Any]
    key: str = ""
    files: dict[str, str] | None = None
    format_version: int = FORMAT_VERSION

    def identify(self) -> str:
        """The content key: whatever has it was measured with the same stick on the same data."""
        parts = {"manifest": self.manifest_sha256, "extractor": self.extractor_sha256, "resize": self.resize}
        return files.sha256_json(parts)


@dataclass(frozen=True)
class Measured:
    """One split's features (n, d) and labels (n,) as the stage hands them over."""

    features: Features
    labels: Labels


def save_reference(
    folder: Path, card: ReferenceCard, state: Mapping[str, Tensor], splits: Mapping[str, Measured]
) -> ReferenceCard:
    """Write the whole artefact, replacing what was there; answers the card with key and hashes."""
    with files.replacing_folder(folder) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(weights, temporary / "extractor.safetensors")
        moments: dict[str, NDArray[Any]] = {}
        for split, measured in splits.items():
            np.save(temporary / f"{split}_features.npy", measured.features, allow_pickle=False)
            np.save(temporary / f"{split}_labels.npy", measured.labels, allow_pickle=False)
            found = Moments.of(measured.features)
            moments |= {f"{split}.sum": found.sum, f"{split}.outer": found.outer}
            moments[f"{split}.count"] = np.array([found.count], dtype=np.int64)
        save_arrays(moments, temporary / "moments.safetensors")
        hashes = {path.name: files.sha256_file(path) for path in sorted(temporary.iterdir())}
        identity = {"name": card.extractor, "config": card.config, "weights": hashes["extractor.safetensors"]}
        card = replace(card, extractor_sha256=files.sha256_json(identity), files=hashes)
        card = replace(card, key=card.identify())
        files.write_json(temporary / "reference.json", {**asdict(card), "spec": card.spec.to_json()})
    return card


class Reference:
    """The artefact, opened and verified; what it holds is read when asked for."""

    def __init__(self, folder: Path, card: ReferenceCard) -> None:
        self.folder = folder
        self.card = card
        self._moments: dict[str, Moments] = {}
        self._extractor: Extractor | None = None

    @classmethod
    def load(cls, folder: Path, manifest_sha256: str | None = None) -> Reference:
        """Open `folder`, every file checked against its sha256.

        Raises:
            BrokenArtefact: if a file is missing or changed, or (`manifest_sha256` given) if the
                reference was measured on other shards.
        """
        found = files.read_json(folder / "reference.json", MADE_BY)
        if not isinstance(found, dict) or cast(dict[str, Any], found).get("format_version") != FORMAT_VERSION:
            raise files.BrokenArtefact(
                f"{folder / 'reference.json'} is not a reference of format {FORMAT_VERSION}; run {MADE_BY} again"
            )
        data = cast(dict[str, Any], found)
        try:
            data["spec"] = DataSpec.from_json(data["spec"])
            card = ReferenceCard(**data)
        except (KeyError, TypeError) as error:
            raise files.BrokenArtefact(
                f"{folder / 'reference.json'} is no whole reference card ({error}); run {MADE_BY} again"
            ) from None
        if manifest_sha256 is not None and card.manifest_sha256 != manifest_sha256:
            raise files.BrokenArtefact(
                f"{folder} was measured on other shards (manifest {card.manifest_sha256[:12]}…, these are "
                f"{manifest_sha256[:12]}…); run {MADE_BY} again"
            )
        for name, sha256 in (card.files or {}).items():
            files.verify(folder / name, sha256, MADE_BY)
        return cls(folder, card)

    @property
    def key(self) -> str:
        """The content key of what was measured and with what."""
        return self.card.key

    def moments(self, split: Split) -> Moments:
        """Count, sum and outer product of one split's features."""
        if split not in self._moments:
            arrays = load_arrays(self.folder / "moments.safetensors")
            count = int(arrays[f"{split}.count"][0])
            self._moments[split] = Moments(count, arrays[f"{split}.sum"], arrays[f"{split}.outer"])
        return self._moments[split]

    def features(self, split: Split) -> Features:
        """Float32 (n, d), memory-mapped, in the split's own order."""
        return np.load(self.folder / f"{split}_features.npy", mmap_mode="r", allow_pickle=False)

    def labels(self, split: Split) -> Labels:
        """Int64 (n,); -1 where nothing is labelled."""
        return np.load(self.folder / f"{split}_labels.npy", allow_pickle=False)

    def extractor(self) -> Extractor:
        """The extractor as it was when the reals were measured, in evaluation mode."""
        if self._extractor is None:
            extractor: Extractor = plugins.load("extractors", {"name": self.card.extractor, **self.card.config})
            extractor.load(self.card.spec, load_file(self.folder / "extractor.safetensors"))
            self._extractor = extractor
        return self._extractor
