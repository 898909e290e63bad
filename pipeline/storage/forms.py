"""The forms of cards and manifests, checked field by field: they may come from strangers.

Strict: no text for a number, no missing or unknown field, names that never lead out of a folder, hashes of 64 hex
digits, counts that fit. A wrong one is a `BrokenArtefact` that names the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from pipeline import limits
from pipeline.errors import BrokenArtefact

LARGEST = 2**63 - 1
SHOWN = 80  # characters of a stranger's text in a sentence
FIELD_NAME = r"[a-z_][a-z0-9_]{0,19}"  # it stands in a member's name in the tar, beside the example's key


def _like(pattern: str, must: str) -> AfterValidator:
    form = re.compile(pattern, re.ASCII)

    def held(text: str) -> str:
        if form.fullmatch(text) is None:
            raise ValueError(must)
        return text

    return AfterValidator(held)


Name = Annotated[str, _like(r"[a-z_][a-z0-9_]{0,99}", "must be a name of small letters, digits and _")]
FileName = Annotated[str, _like(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", "must be a plain file name")]
Sha256 = Annotated[str, _like(r"[0-9a-f]{64}", "must be a sha256 of 64 hex digits")]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Side = Annotated[int, Field(ge=1, le=2**31 - 1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Shape = Annotated[list[Side], Field(min_length=1, max_length=8)]
FieldName = Annotated[str, _like(FIELD_NAME, "must be a name of at most 20 small letters, digits and _")]
TAKEN = frozenset({"x", "label", "cls", "nonfinite"})  # by what batches and shards hold of every data set


class Form(BaseModel):
    """The base of a card's form."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FieldForm(Form):
    """`FieldSpec.to_json`."""

    name: FieldName
    kind: Literal["image", "waveform", "voxels", "video", "rows", "spectrogram", "mask", "tensor", "label", "text"]
    shape: Annotated[list[Side], Field(max_length=8)]
    dtype: Literal["uint8", "int64", "float32"]
    flips: bool
    source: Literal["same_item", "other_domain", "derived"]
    of: FieldName | None = None
    transform: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.name in TAKEN:
            raise ValueError(f"name: '{self.name}' means something else")
        given = {self.of is not None, self.transform is not None}
        if given != {self.source == "derived"}:
            raise ValueError("a derived field names its field and its transform; no other field has either")
        _check_size(self.shape, self.dtype)
        return self


class ModeForm(Form):
    """`Mode`."""

    mean: Number
    std: Annotated[Number, Field(gt=0)]
    weight: Annotated[Number, Field(ge=0, le=1)]


class ColumnForm(Form):
    """`Column.to_json`."""

    name: str
    categories: Annotated[list[str], Field(min_length=1)] | None = None
    mean: Number | None = None
    std: Annotated[Number, Field(gt=0)] | None = None
    whole: bool | None = None
    decimals: Annotated[int, Field(ge=0, le=15)] | None = None
    masked: Literal[True] | None = None
    modes: Annotated[list[ModeForm], Field(min_length=1, max_length=100)] | None = None
    counts: list[Count] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        numeric = {self.mean is None, self.std is None, self.whole is None}
        if len(numeric) > 1 or numeric == {self.categories is None}:
            raise ValueError("has either categories, or mean, std and whole")
        if self.categories is not None and (self.decimals, self.masked, self.modes) != (None, None, None):
            raise ValueError("decimals, masked and modes are of a numeric column")
        if self.counts is not None and len(self.counts) != (2 if self.categories is None else len(self.categories)):
            raise ValueError("counts: is one number a category, or of a masked column two")
        if self.categories is not None and len(set(self.categories)) != len(self.categories):
            raise ValueError("categories: a value stands twice")
        return self


class SpecForm(Form):
    """`DataSpec.to_json`; `fields` also as it was before they had types, shapes by name."""

    modality: Literal["image", "waveform", "voxels", "video", "rows"]
    shape: Shape
    classes: list[str]
    dtype: Literal["uint8", "float32"]
    fields: Annotated[
        Annotated[dict[FieldName, Shape], Tag("shapes")] | Annotated[list[FieldForm], Tag("list")],
        Discriminator(lambda held: "shapes" if isinstance(held, dict) else "list"),
    ] = Field(default_factory=lambda: [])
    rate: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    columns: list[ColumnForm] = Field(default_factory=lambda: [])
    label_column: Annotated[list[str | int], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_size(self.shape, self.dtype)
        width = sum(len(each.categories or [None] * (2 if each.masked else 1)) for each in self.columns)
        if self.columns and self.shape != [width]:
            raise ValueError(f"columns: they stand for {width} numbers, and an example has the shape {self.shape}")
        if self.label_column is not None:
            name, place = self.label_column
            if type(name) is not str or type(place) is not int or not 0 <= place <= len(self.columns):
                raise ValueError("label_column: is a name and how many columns stand before it")
        if isinstance(self.fields, dict):
            for shape in self.fields.values():
                _check_size(shape, self.dtype)
            return self
        names = [each.name for each in self.fields]
        if len(set(names)) != len(names):
            raise ValueError("fields: a name stands twice")
        if sum(each.source == "other_domain" for each in self.fields) > 1:
            raise ValueError("fields: more than one is another domain")
        stored = {"x", *(each.name for each in self.fields if each.source == "same_item")}
        for each in self.fields:
            if each.of is not None and each.of not in stored:
                raise ValueError(f"fields: {each.name} is derived of '{each.of}', which no example holds")
        return self


class FieldSummaryForm(Form):
    """`FieldSummary`: four lists of one length."""

    mean: list[Number]
    std: list[Annotated[Number, Field(ge=0)]]
    min: list[Number]
    max: list[Number]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len({len(self.mean), len(self.std), len(self.min), len(self.max)}) > 1:
            raise ValueError("mean, std, min and max are of unlike lengths")
        return self


class TextSummaryForm(Form):
    """`TextSummary.to_json`: pairs of a word and a count."""

    captions: Count
    words: Annotated[list[Annotated[list[str | Count], Field(min_length=2, max_length=2)]], Field(max_length=2**16)]

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if not all(isinstance(word, str) and isinstance(count, int) for word, count in self.words):
            raise ValueError("words must be pairs of a word and a count")
        return self


class SummaryForm(Form):
    """`DataSummary.to_json`."""

    fields: dict[FieldName, FieldSummaryForm]
    texts: dict[FieldName, TextSummaryForm] = Field(default_factory=lambda: {})


def _check_size(shape: list[int], dtype: str) -> None:
    if math.prod(shape) * np.dtype(dtype).itemsize > limits.SHARD_MEMBER_BYTES:
        raise ValueError(f"an example of shape {shape} is larger than {limits.SHARD_MEMBER_BYTES:,} bytes")


F = TypeVar("F", bound=Form)


def check(form: type[F], data: object, where: Path | str, made_by: str) -> F:
    """`data` in its form.

    Raises:
        BrokenArtefact: naming the file and the first field that is wrong.
    """
    if not isinstance(data, dict):
        raise BrokenArtefact(f"{where} holds no fields; run {made_by} again")
    try:
        return form.model_validate(cast(Mapping[str, Any], data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = printable(".".join(str(part) for part in first["loc"])) or "the whole"
        said = first["msg"].removeprefix("Value error, ")
        raise BrokenArtefact(f"{where}: {field}: {_small(said)}; run {made_by} again") from None


def printable(text: str) -> str:
    """A stranger's text for a sentence: cut, and without what a terminal would obey."""
    shown = "".join(each if each.isprintable() else "?" for each in text)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def _small(said: str) -> str:
    return said[:1].lower() + said[1:]
