"""What travels between rooms: examples, batches and the description of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Modality = Literal["image", "waveform", "voxels", "video", "rows"]
FieldKind = Literal[
    "image", "waveform", "voxels", "video", "rows", "spectrogram", "mask", "tensor", "label", "text"
]  # fmt: skip
FieldSource = Literal["same_item", "other_domain", "derived"]
Dtype = Literal["uint8", "int64", "float32"]
Array = NDArray[Any]

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Hands on what it is given and shows a person how far it is."""


class Batch(TypedDict, total=False):
    """A typed dict of what a family asked for in its `needs`; never the latents.

    Images are float32 in [-1, 1], shape (n, C, H, W); labels are int64, shape (n,). What else the data holds is
    described by its `FieldSpec`; `FieldSpec.tensor` says how it comes.
    """

    x: Tensor
    label: Tensor
    attribute: Tensor
    text: Tensor
    pair: Tensor
    unpaired: Tensor
    irrelevant: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Example:
    """One item of the data set, as it is packed into a shard.

    `x` is uint8 (C, H, W) for images and float32 (C, …) for every other modality.
    """

    key: str
    x: Array
    label: int | None = None
    extra: dict[str, Array] = field(default_factory=lambda: {})


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of the examples: `x` itself, or what batches hold beside it.

    shape: one example's, () for a single number. Images and masks are (C, H, W), spectrograms (C, F, T), waveforms
        (C, T); tensors and texts have any shape, the same for all examples.
    dtype: as stored. flips: whether `train.flip` mirrors it, along its last axis, whenever it mirrors x.
    source: `same_item`, stored in the same example as x; `other_domain`, the x of another domain's items, which have
        an order of their own; `derived`, computed from the field `of` whenever examples are read.
    transform: of a derived field, the name and the whole Config of its file in data/transforms, as JSON text.
    """

    name: str
    kind: FieldKind
    shape: tuple[int, ...]
    dtype: Dtype
    flips: bool
    source: FieldSource = "same_item"
    of: str = ""
    transform: str = ""

    @classmethod
    def usual(cls, name: str, kind: FieldKind, shape: tuple[int, ...], source: FieldSource = "same_item") -> FieldSpec:
        """A field of this kind as it is usually stored: images and masks flip, nothing else does."""
        return cls(name, kind, shape, usual_dtype(kind), kind in FLIPPED, source)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as manifests and model cards hold it."""
        found: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "flips": self.flips,
            "source": self.source,
        }
        if self.source == "derived":
            found |= {"of": self.of, "transform": json.loads(self.transform)}
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FieldSpec:
        """The inverse of `to_json`."""
        values: dict[str, Any] = {**data, "shape": tuple(data["shape"])}
        if "transform" in values:
            values["transform"] = json.dumps(values["transform"], sort_keys=True)
        return cls(**values)

    def tensor(self, values: Array, device: torch.device | str = "cpu") -> Tensor:
        """Stored values (n, …) as batches hold them, on the device; bytes are moved before they are widened.

        uint8 images become float32 in [-1, 1] (v / 127.5 - 1), masks float32 in [0, 1] (v / 255); whole numbers of
        labels and texts int64; all else is float32 with its values unchanged.
        """
        moved = torch.from_numpy(values).to(device)
        if self.kind in ("label", "text"):
            return moved if moved.is_floating_point() else moved.long()
        if self.dtype == "uint8" and self.kind == "mask":
            return moved.float().div_(255)
        if self.dtype == "uint8" and self.kind != "tensor":
            return moved.float().div_(127.5).sub_(1)
        return moved.float()

    @property
    def scaling(self) -> tuple[float, float]:
        """(a, b) of `tensor`'s a · v + b, as real numbers."""
        if self.dtype != "uint8" or self.kind in ("label", "text", "tensor"):
            return 1.0, 0.0
        return (1 / 255, 0.0) if self.kind == "mask" else (1 / 127.5, -1.0)


FLIPPED: frozenset[FieldKind] = frozenset({"image", "mask"})
"""Kinds of field that `train.flip` mirrors: a mirrored picture is a valid example."""


def usual_dtype(kind: FieldKind) -> Dtype:
    """What a field of this kind is stored as, unless it says otherwise."""
    if kind in ("image", "mask"):
        return "uint8"
    return "int64" if kind in ("label", "text") else "float32"


def like_x(
    shapes: Mapping[str, tuple[int, ...]], modality: Modality = "image", dtype: Dtype = "uint8"
) -> tuple[FieldSpec, ...]:
    """Fields of x's own kind and type, by name: of the same item, but for `unpaired`, which is another domain.

    All fields were such before each had a type of its own, and manifests and cards of that time say no more of them.
    """
    flips = modality in FLIPPED
    return tuple(
        FieldSpec(name, modality, tuple(shape), dtype, flips, "other_domain" if name == "unpaired" else "same_item")
        for name, shape in shapes.items()
    )


@dataclass(frozen=True, slots=True)
class FieldSummary:
    """One field over the training examples, a number a channel each, as batches hold it: images in [-1, 1].

    std: of the population. Channels are the first axis, and of a spectrogram (C, F, T) each frequency of each channel,
    C·F numbers in that order. Fields of more than 16,384 channels have one number for all of them.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TextSummary:
    """The training captions of one field: how many, and in how many of them each word stands, the commonest first."""

    captions: int
    words: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What the training examples are on average, by field, `x` among them; whole numbers of labels and texts are not.

    Classes are counted in the manifest's histograms. texts: the words of fields that hold captions.
    """

    fields: dict[str, FieldSummary]
    texts: dict[str, TextSummary] = field(default_factory=lambda: {})

    def to_json(self) -> dict[str, Any]:
        """Plain lists, as the manifest holds it; what there is none of is left out."""
        found = asdict(self)
        return found if self.texts else {"fields": found["fields"]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DataSummary:
        """The inverse of `to_json`."""
        return cls(
            {
                name: FieldSummary(**{key: tuple(float(each) for each in values) for key, values in held.items()})
                for name, held in data["fields"].items()
            },
            {
                name: TextSummary(held["captions"], tuple((str(word), int(count)) for word, count in held["words"]))
                for name, held in data.get("texts", {}).items()
            },
        )


ColumnKind = Literal["numeric", "whole", "categorical", "binary"]


@dataclass(frozen=True, slots=True)
class Mode:
    """One component of the Gaussian mixture that a numeric column was found to be, in units of x.

    weight: what the component's density is multiplied by for its responsibility; they sum to 1.
    """

    mean: float
    std: float
    weight: float


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and the numbers of `x` that stand for it, so that samples can be turned back into rows.

    categories: the values that one number each stands for (1 for the value of the row, 0 for the others); empty: the
    column is numeric, and its one number is (value - mean) / std. whole: whether all values are whole numbers.
    decimals: digits after the point with which its values are written; None: as many as the number needs.
    masked: values may be missing; a second number is 1 where one is, and the first is then 0.
    modes: the mixture that its values were found to be, where ingest was asked for it. counts: in how many rows each
    category stands; of a masked column, how many values are there and how many missing.
    """

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    whole: bool = False
    decimals: int | None = None
    masked: bool = False
    modes: tuple[Mode, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers of `x` it takes."""
        return len(self.categories) or 1 + self.masked

    @property
    def kind(self) -> ColumnKind:
        """What a person calls it, and can pin it as."""
        if self.categories:
            return "binary" if len(self.categories) == 2 else "categorical"
        return "whole" if self.whole else "numeric"

    def to_json(self) -> dict[str, Any]:
        """As manifests and model cards hold it."""
        counts = {"counts": list(self.counts)} if self.counts else {}
        if self.categories:
            return {"name": self.name, "categories": list(self.categories), **counts}
        found: dict[str, Any] = {"name": self.name, "mean": self.mean, "std": self.std, "whole": self.whole, **counts}
        found |= {} if self.decimals is None else {"decimals": self.decimals}
        found |= {"masked": True} if self.masked else {}
        return found | ({"modes": [asdict(mode) for mode in self.modes]} if self.modes else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Column:
        """The inverse of `to_json`."""
        modes = tuple(Mode(**mode) for mode in data.get("modes", ()))
        lists = {key: tuple(data.get(key, ())) for key in ("categories", "counts")}
        values: dict[str, Any] = {**data, **lists, "modes": modes}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class DataSpec:
    """The shape of the data: what a family is built for and a manifest records.

    `shape` is (C, H, W) for images, (C, T) waveforms, (C, D, H, W) voxels,
    (C, T, H, W) video, (F,) rows. `classes` is empty where nothing is labelled.
    `fields` describes what batches hold beside `x` and `label`. `rate`: of waveforms, samples a second. `columns`: of
    rows of a table, what the numbers of x stand for, in their order. `label_column`: of a labelled table, the name of
    the column that holds the class, and how many of `columns` stand before it.

    `summary`: what the training examples are on average, for a `Family.build` that normalises or initialises by it. It
    travels with the spec so that `build(spec)` stays as it is for all designs, and it is no part of what the data *is*:
    specs that differ in it alone are equal, and `to_json` leaves it out (manifests and cards hold it beside the spec).
    None before ingest, for data without examples, and for shards of an earlier version.
    """

    modality: Modality
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"
    fields: tuple[FieldSpec, ...] = ()
    rate: int | None = None
    summary: DataSummary | None = field(default=None, compare=False, repr=False)
    columns: tuple[Column, ...] = ()
    label_column: tuple[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings, as manifests and model cards hold it; what there is none of is left out."""
        found: dict[str, Any] = {
            "modality": self.modality,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "dtype": self.dtype,
        }
        if self.fields:
            found["fields"] = [each.to_json() for each in self.fields]
        if self.columns:
            found["columns"] = [each.to_json() for each in self.columns]
        if self.label_column:
            found["label_column"] = list(self.label_column)
        return found if self.rate is None else {**found, "rate": self.rate}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DataSpec:
        """The inverse of `to_json`; also of what it was before fields had types: their shapes by name."""
        held: list[dict[str, Any]] | dict[str, Any] = data.get("fields", [])
        if isinstance(held, dict):
            fields = like_x(held, data["modality"], data["dtype"])
        else:
            fields = tuple(FieldSpec.from_json(each) for each in held)
        shape, classes = tuple(data["shape"]), tuple(data["classes"])
        columns = tuple(Column.from_json(each) for each in data.get("columns", ()))
        name, place = data.get("label_column", (None, 0))
        label = None if name is None else (str(name), int(place))
        rate = data.get("rate")
        return cls(data["modality"], shape, classes, data["dtype"], fields, rate, columns=columns, label_column=label)

    @property
    def x(self) -> FieldSpec:
        """What `x` is."""
        return FieldSpec("x", self.modality, self.shape, self.dtype, self.modality in FLIPPED)

    def field(self, name: str) -> FieldSpec | None:
        """The field `name`, `x` among them; None where the data has none of this name."""
        return next((each for each in (self.x, *self.fields) if each.name == name), None)

    def field_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of the field `name`, None where the data has none."""
        found = self.field(name)
        return None if found is None else found.shape

    @property
    def stored(self) -> tuple[FieldSpec, ...]:
        """The fields that lie in the same example as `x`."""
        return tuple(each for each in self.fields if each.source == "same_item")

    @property
    def derived(self) -> tuple[FieldSpec, ...]:
        """The fields that are computed when examples are read."""
        return tuple(each for each in self.fields if each.source == "derived")

    @property
    def other_domain(self) -> FieldSpec | None:
        """The field that is another domain's x; None for data of one domain."""
        return next((each for each in self.fields if each.source == "other_domain"), None)

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def resolution(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def size(self) -> int:
        """Numbers in one example."""
        return int(np.prod(self.shape))
