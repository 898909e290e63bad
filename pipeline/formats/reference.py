"""The measuring stick on disk: an extractor, and the statistics and features of the real data.

    reference/reference.json           what was measured, with what; sha256 of every file; written last
    reference/extractor.safetensors    the extractor's weights
    reference/moments.safetensors      count, sum and outer product of either split, float64
    reference/<split>_features.npy     float32 (n, d), in the split's own order
    reference/<split>_labels.npy       int64 (n,), -1 where nothing is labelled

    reference/statistics.safetensors   mu and sigma of foreign statistics, where the settings name some
    reference/text_encoder.safetensors  a text encoder that was trained on these features, where the settings name one:
                                       its own tensors below text/, the map of features to its space below image/

It is keyed by content (manifest, extractor, resizing), never by name.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import Tensor

from pipeline import plugins
from pipeline.contract.extractor import AnyExtractor, ExtractorIdentity, identity_of
from pipeline.contract.moments import Gaussian, Moments
from pipeline.errors import BrokenArtefact, Damaged
from pipeline.storage import arrays, files, forms, tensors
from pipeline.storage.forms import Count, FileName, Form, Name, Sha256, SpecForm
from pipeline.types import DataSpec

FORMAT_VERSION = 2
MADE_BY = "the reference stage"
Split = Literal["train", "holdout"]
TEXT_ENCODER = "text_encoder.safetensors"
PIECE = 1024  # rows whose moments are summed at once: part of the bits
SPLITS: tuple[Split, ...] = ("train", "holdout")
Features = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ReferenceCard:
    """What was measured and with what; `report` is the extractor's own account (held-out accuracy, …).

    text_encoder: name and config of one that was trained, its `report`, and the sha256 of its weights' file.
    """

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
    statistics: dict[str, Any] | None = None
    text_encoder: dict[str, Any] | None = None
    key: str = ""
    files: dict[str, str] | None = None
    format_version: int = FORMAT_VERSION

    def identify(self) -> str:
        """The content key: whatever has it was measured with the same stick on the same data."""
        parts: dict[str, Any] = {"manifest": self.manifest_sha256, "extractor": self.identity.to_json()}
        parts |= {"config": self.config, "resize": self.resize, "statistics": self.statistics}
        if self.text_encoder is not None:
            parts["text_encoder"] = self.text_encoder
        return files.sha256_json(parts)

    @property
    def identity(self) -> ExtractorIdentity:
        """Who extracted the features, as records name it."""
        return identity_of(self.extractor, self.config, self.dimension, self.report, self.extractor_sha256)


class _StatisticsForm(Form):
    source: str
    sha256: Sha256
    count: Count | None


class _TextEncoderForm(Form):
    name: Name
    config: dict[str, Any]
    sha256: Sha256
    report: dict[str, Any]


class _CardForm(Form):
    """reference.json: its files are those that a reference has, each with its hash, and nothing else."""

    manifest_sha256: Sha256
    spec: SpecForm
    extractor: Name
    config: dict[str, Any]
    extractor_sha256: Sha256
    dimension: Count
    resize: str
    seed: Count
    threads: Count
    counts: dict[Split, Count]
    report: dict[str, Any]
    statistics: _StatisticsForm | None = None
    text_encoder: _TextEncoderForm | None = None
    key: Sha256
    files: dict[FileName, Sha256]
    format_version: Literal[2]
    identity: dict[str, Any] = Field(default_factory=lambda: {})

    @model_validator(mode="after")
    def _all_files(self) -> Self:
        of_splits = {f"{split}_{what}.npy" for split in self.counts for what in ("features", "labels")}
        foreign = {"statistics.safetensors"} if self.statistics is not None else set[str]()
        foreign |= {TEXT_ENCODER} if self.text_encoder is not None else set[str]()
        if set(self.files) != {"extractor.safetensors", "moments.safetensors", *of_splits, *foreign}:
            raise ValueError("files must be those that a reference has, and nothing else")
        return self


@dataclass(frozen=True)
class Measured:
    """Features (n, d) and labels (n,) of a split, or of its next rows, as the stage hands them over."""

    features: Features
    labels: Labels


@dataclass(frozen=True)
class TrainedText:
    """A text encoder that was trained: its name and Config, its tensors, and how features get to its space.

    weight (d, dimension), bias (dimension,).
    """

    name: str
    config: dict[str, Any]
    state: Mapping[str, Tensor]
    weight: Tensor
    bias: Tensor
    report: dict[str, Any]


Learning = Callable[[Mapping[str, Features]], TrainedText]
"""The features (n, d) of each split → a text encoder trained on them."""


def save_reference(
    folder: Path,
    card: ReferenceCard,
    state: Mapping[str, Tensor],
    splits: Mapping[str, Measured | Iterable[Measured]],
    statistics: Gaussian | None = None,
    learn: Learning | None = None,
) -> ReferenceCard:
    """Write the whole artefact, replacing what was there; answers the card with key and hashes.

    splits: whole, or piece by piece, each piece written as it comes. statistics: foreign ones.
    learn: trains a text encoder once the features are there.
    """
    with files.replacing_folder(folder) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(weights, temporary / "extractor.safetensors")
        moments: dict[str, NDArray[Any]] = {}
        for split, measured in splits.items():
            pieces = [measured] if isinstance(measured, Measured) else measured
            found = _save_split(temporary, split, card, pieces)
            moments |= {f"{split}.sum": found.sum, f"{split}.outer": found.outer}
            moments[f"{split}.count"] = np.array([found.count], dtype=np.int64)
        save_arrays(moments, temporary / "moments.safetensors")
        if statistics is not None:
            account = {"source": statistics.source, "sha256": statistics.sha256, "count": statistics.count}
            card = replace(card, statistics=account)
            save_arrays({"mu": statistics.mean, "sigma": statistics.covariance}, temporary / "statistics.safetensors")
        if learn is not None:
            held = {split: arrays.read(temporary / f"{split}_features.npy", mapped=True) for split in splits}
            card = replace(card, text_encoder=_save_text_encoder(temporary / TEXT_ENCODER, learn(held)))
        hashes = {path.name: files.sha256_file(path) for path in sorted(temporary.iterdir())}
        identity = {"name": card.extractor, "config": card.config, "weights": hashes["extractor.safetensors"]}
        card = replace(card, extractor_sha256=files.sha256_json(identity), files=hashes)
        card = replace(card, key=card.identify())
        content = {**asdict(card), "spec": card.spec.to_json(), "identity": card.identity.to_json()}
        files.write_json(temporary / "reference.json", content)
    return card


def _save_text_encoder(path: Path, found: TrainedText) -> dict[str, Any]:
    """Write its tensors; what the card says of it."""
    named = {**{f"text/{key}": each for key, each in found.state.items()}, "image/weight": found.weight}
    named["image/bias"] = found.bias
    save_file({key: each.detach().cpu().contiguous() for key, each in named.items()}, path)
    about = {"name": found.name, "config": found.config, "report": found.report}
    return {**about, "sha256": files.sha256_file(path)}


def _save_split(folder: Path, split: str, card: ReferenceCard, pieces: Iterable[Measured]) -> Moments:
    """Write a split's features and labels row by row; its moments."""
    from threadpoolctl import threadpool_limits

    count, begin = card.counts[split], 0
    shape = (count, card.dimension)
    path = folder / f"{split}_features.npy"
    if count == 0:  # nothing can be mapped
        np.save(path, np.zeros(shape, dtype=np.float32), allow_pickle=False)
        np.save(folder / f"{split}_labels.npy", np.empty(0, dtype=np.int64), allow_pickle=False)
        return Moments.empty(card.dimension)
    features: NDArray[np.float32] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    labels = np.empty(count, dtype=np.int64)
    moments = Moments.empty(card.dimension)
    for piece in pieces:
        end = begin + len(piece.labels)
        features[begin:end], labels[begin:end] = piece.features, piece.labels
        begin = end
    if begin != count:
        raise RuntimeError(f"{split} was to have {count} rows, and {begin} came")
    # From the whole, on one thread, so that neither how it came nor where decides a bit.
    with threadpool_limits(limits=1, user_api="blas"):
        for first in range(0, count, PIECE):
            moments.update(features[first : first + PIECE])
    features.flush()  # pyright: ignore[reportAttributeAccessIssue] (a memmap)
    np.save(folder / f"{split}_labels.npy", labels, allow_pickle=False)
    return moments


class Reference:
    """The artefact, opened and verified; what it holds is read when asked for."""

    def __init__(self, folder: Path, card: ReferenceCard) -> None:
        self.folder = folder
        self.card = card
        self._moments: dict[str, Moments] = {}
        self._extractor: AnyExtractor | None = None

    @classmethod
    def load(cls, folder: Path, manifest_sha256: str | None = None) -> Reference:
        """Open `folder`, every file checked against its sha256.

        Raises:
            BrokenArtefact: if a file is missing or changed, or (`manifest_sha256` given) if the
                reference was measured on other shards, or a field of its card is not what it must be.
        """
        found = files.read_json(folder / "reference.json", MADE_BY)
        if not isinstance(found, dict) or cast(dict[str, Any], found).get("format_version") != FORMAT_VERSION:
            raise BrokenArtefact(
                f"{folder / 'reference.json'} is not a reference of format {FORMAT_VERSION}; run {MADE_BY} again"
            )
        data = cast(dict[str, Any], found)
        forms.check(_CardForm, data, folder / "reference.json", MADE_BY)
        data["spec"] = DataSpec.from_json(data["spec"])
        data.pop("identity", None)  # for people: the card's other fields say the same
        card = ReferenceCard(**data)
        if manifest_sha256 is not None and card.manifest_sha256 != manifest_sha256:
            raise BrokenArtefact(
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

    @property
    def blind(self) -> bool:
        """True if there is no feature extractor (`extractor: none`), for designs that measure themselves."""
        return not plugins.class_of("extractors", self.card.extractor).looks

    def text_encoder(self) -> TrainedText | None:
        """The text encoder that was trained with it, if one was."""
        about = self.card.text_encoder
        if about is None:
            return None
        held = tensors.read(self.folder / TEXT_ENCODER)
        with _readable(self.folder / TEXT_ENCODER):
            state = {key.removeprefix("text/"): each for key, each in held.items() if key.startswith("text/")}
            weight, bias = held["image/weight"], held["image/bias"]
        return TrainedText(about["name"], about["config"], state, weight, bias, about["report"])

    def moments(self, split: Split) -> Moments:
        """Count, sum and outer product of one split's features."""
        if split not in self._moments:
            held = tensors.read_arrays(self.folder / "moments.safetensors")
            with _readable(self.folder / "moments.safetensors"):
                count = int(held[f"{split}.count"][0])
                self._moments[split] = Moments(count, held[f"{split}.sum"], held[f"{split}.outer"])
        return self._moments[split]

    @property
    def statistics(self) -> Gaussian | None:
        """Foreign statistics of the reals, where the settings named some."""
        about = self.card.statistics
        if about is None:
            return None
        found = tensors.read_arrays(self.folder / "statistics.safetensors")
        with _readable(self.folder / "statistics.safetensors"):
            return Gaussian(found["mu"], found["sigma"], about["count"], about["source"], about["sha256"])

    def features(self, split: Split) -> Features:
        """Float32 (n, d), memory-mapped, in the split's own order."""
        path, shape = self.folder / f"{split}_features.npy", (self.card.counts.get(split, 0), self.card.dimension)
        return _of(path, _array(path, mapped=True), np.float32, shape)

    def labels(self, split: Split) -> Labels:
        """Int64 (n,); -1 where nothing is labelled."""
        path = self.folder / f"{split}_labels.npy"
        return _of(path, _array(path), np.int64, (self.card.counts.get(split, 0),))

    def extractor(self) -> AnyExtractor:
        """The extractor as it was when the reals were measured, in evaluation mode."""
        if self._extractor is None:
            extractor: AnyExtractor = plugins.load("extractors", {"name": self.card.extractor, **self.card.config})
            held = tensors.read(self.folder / "extractor.safetensors")
            with _readable(self.folder / "extractor.safetensors"):
                extractor.load(self.card.spec, held)
            self._extractor = extractor
        return self._extractor


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """What a file does not hold that its card promises, as a `BrokenArtefact`: its sha256 may be a stranger's word."""
    try:
        yield
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        told = forms.printable(" ".join(str(error).split()))
        raise BrokenArtefact(f"{path} does not hold what it must ({told}); run {MADE_BY} again") from None


def _array(path: Path, mapped: bool = False) -> NDArray[Any]:
    try:
        return arrays.read(path, mapped=mapped)
    except Damaged as error:
        raise BrokenArtefact(f"{path}: {error}; run {MADE_BY} again") from None


def _of(path: Path, found: NDArray[Any], dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    if found.dtype != dtype or found.shape != shape:
        raise BrokenArtefact(
            f"{path} is {found.dtype} {found.shape}, not {np.dtype(dtype)} {shape}; run {MADE_BY} again"
        )
    return found
