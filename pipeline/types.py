"""What travels between rooms: examples, batches and the description of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Modality = Literal["image", "waveform", "voxels", "video", "rows"]
Array = NDArray[Any]

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Hands on what it is given and shows a person how far it is."""


class Batch(TypedDict, total=False):
    """A typed dict of what a family asked for in its `needs`; never the latents.

    Images are float32 in [-1, 1], shape (n, C, H, W); labels are int64, shape (n,).
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
class DataSpec:
    """The shape of the data: what a family is built for and a manifest records.

    `shape` is (C, H, W) for images, (C, T) waveforms, (C, D, H, W) voxels,
    (C, T, H, W) video, (F,) rows. `classes` is empty where nothing is labelled.
    `fields` names what batches hold beside `x` and `label`, with one example's shape: the `pair` that
    lies in the same example, the `unpaired` that is another domain. `rate`: of waveforms, samples a second.
    """

    modality: Modality
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"
    fields: tuple[tuple[str, tuple[int, ...]], ...] = ()
    rate: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings, as manifests and model cards hold it; what there is none of is left out."""
        found: dict[str, Any] = {
            "modality": self.modality,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "dtype": self.dtype,
        }
        if self.fields:
            found["fields"] = {name: list(shape) for name, shape in self.fields}
        return found if self.rate is None else {**found, "rate": self.rate}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DataSpec:
        """The inverse of `to_json`."""
        fields = tuple((name, tuple(shape)) for name, shape in data.get("fields", {}).items())
        shape, classes = tuple(data["shape"]), tuple(data["classes"])
        return cls(data["modality"], shape, classes, data["dtype"], fields, data.get("rate"))

    def field_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of the field `name`, None where the data has none."""
        return dict(self.fields).get(name)

    @property
    def stored(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The fields that lie in the same example as `x`."""
        return tuple(found for found in self.fields if found[0] != "unpaired")

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
