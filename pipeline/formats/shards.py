"""The shards on disk: webdataset tars, an index a split, and `manifest.json`, written last.

    shards/train-000000.tar …     <key>.png (images) or <key>.npy, and <key>.cls where labelled
    shards/index-train.npy        int64 (n, 4): shard number, offset and length of x, label or -1
    … with fields beside x        also <key>.<field>.png or .npy, and two columns of the index: its offset and length
    … of two domains              the second one's in the splits unpaired_train and unpaired_holdout
    shards/manifest.json          spec, splits, sha256 of every file above, duplicates, rejects, summary of train

Nothing in it names a time, a user or an absolute path: equal data gives equal bytes.
"""

from __future__ import annotations

import io
import math
import re
import tarfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from pipeline import limits
from pipeline.errors import BrokenArtefact, Damaged
from pipeline.settings import suggest
from pipeline.storage import arrays, files, forms
from pipeline.storage.bundles import MANIFEST
from pipeline.storage.damage import reading
from pipeline.storage.forms import Count, FileName, Form, Name, Sha256, SpecForm, SummaryForm
from pipeline.types import Array, DataSpec, DataSummary, Example, FieldSpec, like_x

FORMAT_VERSION = 1
MADE_BY = "the ingest stage"
TAR_BLOCK = 512
UNPAIRED = "unpaired_"
NPY_HEADER = 2**16  # bytes before the numbers of an .npy, at most
LATER = (
    "notes",
    "passed_over",
    "summary",
    "captions",
)  # fields of the manifest that came later: without them it has the bytes it had before


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar: its name in the folder, its size in bytes, its sha256, how many examples it holds."""

    name: str
    bytes: int
    sha256: str
    examples: int


@dataclass(frozen=True, slots=True)
class Split:
    """`train` or `holdout`; the histogram counts examples by class name and is empty where nothing is labelled."""

    name: str
    examples: int
    shards: tuple[Shard, ...]
    index: str
    index_sha256: str
    histogram: dict[str, int]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of shards holds.

    source: which source, with its settings; folders and files by their last name only.
    packing: how examples were fitted to the spec (resize, filter, transparency …).
    duplicates: `policy`, `examples` (repeats of an earlier content), `conflicting` (those with another label).
    rejects: how many items were rejected, by reason; rejects.csv beside the manifest names them.
    notes: what a person should know of items that are used, by kind: how many, the worst, plain values; notes.csv
        beside the manifest names them.
    passed_over: how many files and folders among the source's were none of its items, by name or ending;
    passed_over.csv names them.
    captions: of all examples: `pictures` that have some, `captions`, `distinct` ones, characters of the `longest`, and
        all `characters`.
    """

    spec: DataSpec
    splits: dict[str, Split]
    source: dict[str, Any]
    packing: dict[str, Any]
    duplicates: dict[str, int | str]
    rejects: dict[str, int]
    notes: dict[str, dict[str, Any]] = field(default_factory=lambda: {})
    format_version: int = FORMAT_VERSION
    passed_over: dict[str, int] = field(default_factory=lambda: {})
    captions: dict[str, int] = field(default_factory=lambda: {})

    @property
    def sha256(self) -> str:
        """What the data is known by: it covers every shard and index through theirs.

        The summary follows from them and has no part in it. Fields that are all like x count as they were written
        before fields had types of their own. So shards of an earlier version, and scores on them, stay comparable.
        """
        found = {name: value for name, value in self.to_json().items() if name != "summary"}
        shapes = {each.name: list(each.shape) for each in self.spec.fields}
        older = like_x({each.name: each.shape for each in self.spec.fields}, self.spec.modality, self.spec.dtype)
        if shapes and older == self.spec.fields:
            found["spec"]["fields"] = shapes
        return files.sha256_json(found)

    def split(self, name: str) -> Split:
        """The split `name`.

        Raises:
            BrokenArtefact: if there is none of this name.
        """
        if name not in self.splits:
            raise BrokenArtefact(f"there is no split '{name}' in the shards{suggest(name, list(self.splits))}")
        return self.splits[name]

    def to_json(self) -> dict[str, Any]:
        """As manifest.json holds it; fields that older manifests lack are left out where they are empty."""
        summary = self.spec.summary
        found = {**asdict(self), "spec": self.spec.to_json(), "summary": summary and summary.to_json()}
        return {name: value for name, value in found.items() if value or name not in LATER}

    def save(self, folder: Path) -> None:
        """Write manifest.json; every file it names must be there already."""
        files.write_json(folder / MANIFEST, self.to_json())

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """The manifest of `folder`; shards and indices are not looked at, see `verify`.

        Raises:
            BrokenArtefact: if it is missing, torn, of another format, or a field is not what it must be.
        """
        path = folder / MANIFEST
        found = files.read_json(path, MADE_BY)
        if not isinstance(found, dict) or cast(dict[str, Any], found).get("format_version") != FORMAT_VERSION:
            raise BrokenArtefact(f"{path} is not a shard manifest of format {FORMAT_VERSION}; run {MADE_BY} again")
        data = cast(dict[str, Any], found)
        forms.check(_ManifestForm, data, path, MADE_BY)
        splits = {name: _split_from_json(split) for name, split in data["splits"].items()}
        spec, summary = DataSpec.from_json(data["spec"]), data.pop("summary", None)
        if summary is not None:
            spec = replace(spec, summary=DataSummary.from_json(summary))
        values: dict[str, Any] = {**data, "spec": spec, "splits": splits}
        return cls(**values)


class _ShardForm(Form):
    name: FileName
    bytes: Count
    sha256: Sha256
    examples: Count


class _SplitForm(Form):
    name: Name
    examples: Count
    shards: list[_ShardForm]
    index: FileName
    index_sha256: Sha256
    histogram: dict[str, Count]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(shard.examples for shard in self.shards) != self.examples:
            raise ValueError("its shards hold another number of examples than the split")
        return self


class _ManifestForm(Form):
    """manifest.json: what it names are plain files of its own folder, each with its sha256."""

    spec: SpecForm
    splits: dict[Name, _SplitForm]
    source: dict[str, Any]
    packing: dict[str, Any]
    duplicates: dict[str, int | str]
    rejects: dict[str, Count]
    notes: dict[str, dict[str, Any]] = Field(default_factory=lambda: {})
    format_version: Literal[1]
    passed_over: dict[str, Count] = Field(default_factory=lambda: {})
    captions: dict[str, Count] = Field(default_factory=lambda: {})
    summary: SummaryForm | None = None


def _split_from_json(data: Mapping[str, Any]) -> Split:
    values: dict[str, Any] = {**data, "shards": tuple(Shard(**shard) for shard in data["shards"])}
    return Split(**values)


def index_name(split: str) -> str:
    """The index file of a split."""
    return f"index-{split}.npy"


def shard_name(split: str, number: int) -> str:
    """The tar of a split's shard."""
    return f"{split}-{number:06d}.tar"


def split_of(shard: str) -> str:
    """The split that a shard is of, by its name."""
    return shard.rpartition("-")[0]


def is_shard(file: str, splits: Iterable[str]) -> bool:
    """Whether `file` is named as a shard of one of these splits."""
    return any(re.fullmatch(rf"{re.escape(split)}-\d{{6,}}\.tar", file) for split in splits)


# --- writing ----------------------------------------------------------------------------------


def write_shard(
    path: Path, examples: Iterable[Example], png_level: int, fields: Sequence[str] = ()
) -> tuple[Shard, NDArray[np.int64]]:
    """Write one tar atomically; the same examples give the same bytes on every run.

    Keys must be unique, ASCII, and free of dots and slashes, as webdataset splits names at the first dot.
    Returns the shard and int64 rows (examples, 3 + 2·fields): offset and length of x's data in the tar,
    label or -1, and offset and length of each field's, all of which every example must hold.
    """
    rows: list[list[int]] = []
    with files.replacing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for example in examples:
                extension, data = encode(example.x, png_level)
                row = [_add(tar, f"{example.key}.{extension}", data), len(data)]
                row.append(-1 if example.label is None else example.label)
                for name in fields:
                    extension, data = encode(example.extra[name], png_level)
                    row += [_add(tar, f"{example.key}.{name}.{extension}", data), len(data)]
                if example.label is not None:
                    _add(tar, f"{example.key}.cls", str(example.label).encode())
                rows.append(row)
        shard = Shard(path.name, temporary.stat().st_size, files.sha256_file(temporary), len(rows))
    return shard, np.array(rows, dtype=np.int64).reshape(-1, 3 + 2 * len(fields))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member that tells nothing of when, where and by whom; returns where its data begins."""
    member = tarfile.TarInfo(name)  # its defaults: mtime 0, uid and gid 0, no user and group names
    member.size = len(data)
    member.mode = 0o444
    offset = tar.offset + TAR_BLOCK  # a USTAR header is one block, its name being short ASCII
    tar.addfile(member, io.BytesIO(data))
    return offset


def write_index(folder: Path, split: str, rows: NDArray[np.int64]) -> tuple[str, str]:
    """Write a split's index of int64 (n, columns) rows; returns its name and sha256."""
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    name = index_name(split)
    return name, files.write_bytes(folder / name, buffer.getvalue())


def encode(x: Array, png_level: int = 6) -> tuple[str, bytes]:
    """The extension and bytes of one example: PNG for uint8 images (C, H, W) of 1, 3 or 4 channels, else npy."""
    buffer = io.BytesIO()
    if _as_png(x.dtype, x.shape):
        pixels = np.ascontiguousarray(x[0] if x.shape[0] == 1 else x.transpose(1, 2, 0))
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=png_level)
        return "png", buffer.getvalue()
    np.save(buffer, x, allow_pickle=False)
    return "npy", buffer.getvalue()


def _as_png(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    return dtype == np.uint8 and len(shape) == 3 and shape[0] in (1, 3, 4)


# --- reading ----------------------------------------------------------------------------------


def decode(data: bytes, spec: FieldSpec, where: str) -> Array:
    """The inverse of `encode`: an array of `spec`'s shape and type; `where` names the example in errors.

    Raises:
        BrokenArtefact: if the bytes are damaged or hold something of another shape.
    """
    try:
        size = _member_bytes(spec.shape, spec.dtype)
        png = _as_png(np.dtype(spec.dtype), spec.shape)
        x = _decode_png(data, spec.shape) if png else arrays.decode(data, size + NPY_HEADER)
    except Damaged as error:
        raise BrokenArtefact(f"{where} cannot be decoded ({error}); run {MADE_BY} again") from None
    if x.shape != spec.shape or x.dtype != np.dtype(spec.dtype):
        raise BrokenArtefact(f"{where} is {x.dtype} {x.shape}, its manifest says {spec.dtype} {spec.shape}")
    return x


def _decode_png(data: bytes, shape: tuple[int, ...]) -> Array:
    """The pixels; whether there are as many as the shape says is looked at before they are unpacked."""
    with reading(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, whose size is looked at
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                if (image.height, image.width) != tuple(shape[1:]):
                    raise Damaged(f"{image.height}×{image.width} pixels, its manifest says {shape}")
                pixels = np.asarray(image)
        except Image.DecompressionBombError as error:
            raise Damaged(str(error)) from None
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _member_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """What one member of a shard takes, once decoded.

    Raises:
        Damaged: if it is more than is read.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > limits.SHARD_MEMBER_BYTES:
        raise Damaged(f"{shape} are {size} bytes of one example; {limits.SHARD_MEMBER_BYTES} are read")
    return size


def columns(spec: DataSpec, split: str) -> int:
    """Numbers in a row of the split's index."""
    return 2 + 2 * len(stored_in(spec, split))


def stored_in(spec: DataSpec, split: str) -> tuple[FieldSpec, ...]:
    """What lies in a split's examples: x, and the fields beside it; of another domain, what x is there, alone."""
    if split.startswith(UNPAIRED):
        return () if spec.other_domain is None else (replace(spec.other_domain, name="x", source="same_item"),)
    return (spec.x, *spec.stored)


def load_index(folder: Path, split: Split, spec: DataSpec) -> NDArray[np.int64]:
    """The index of a split, int64 (n, 4), with two more columns for each field stored beside x.

    Raises:
        BrokenArtefact: if it is missing, altered, of another length than the manifest says, or leads out of its shards;
            and where an example would be larger than is read.
    """
    path = folder / split.index
    files.verify(path, split.index_sha256, MADE_BY)
    try:
        for each in stored_in(spec, split.name):
            _member_bytes(each.shape, each.dtype)
        rows = arrays.read(path)
    except Damaged as error:
        raise BrokenArtefact(f"{path}: {error}; run {MADE_BY} again") from None
    expected = (split.examples, columns(spec, split.name))
    if rows.dtype != np.int64 or rows.shape != expected:
        raise BrokenArtefact(f"{path} is {rows.dtype} {rows.shape}, not int64 {expected}")
    if not _leads_within(rows, split, spec):
        raise BrokenArtefact(f"{path} names places that no shard of its manifest has; run {MADE_BY} again")
    return cast(NDArray[np.int64], rows)


def _leads_within(rows: NDArray[np.int64], split: Split, spec: DataSpec) -> bool:
    """Whether each row's data lies in a shard that there is, and its label is that of a class."""
    if not len(rows):
        return True
    shard, label = rows[:, 0], rows[:, 3]
    if int(shard.min()) < 0 or int(shard.max()) >= len(split.shards):
        return False
    if int(label.min()) < -1 or int(label.max()) >= max(1, len(spec.classes)):
        return False
    size = np.array([each.bytes for each in split.shards], dtype=np.int64)[shard]
    return all(
        bool(((rows[:, at] >= 0) & (rows[:, at + 1] >= 0) & (rows[:, at] <= size - rows[:, at + 1])).all())
        for at in (1, *range(4, rows.shape[1], 2))
    )


def check_sizes(folder: Path, split: Split) -> None:
    """Notice missing and truncated shards without reading them.

    Raises:
        BrokenArtefact: naming the first one.
    """
    for shard in split.shards:
        path = folder / shard.name
        if not path.is_file():
            raise BrokenArtefact(f"{path} is missing; {MADE_BY} makes it")
        size = path.stat().st_size
        if size != shard.bytes:
            raise BrokenArtefact(f"{path} has {size} bytes, its manifest says {shard.bytes}; run {MADE_BY} again")


def verify(folder: Path) -> Manifest:
    """The manifest, after every shard and index was read and found to have its sha256.

    Raises:
        BrokenArtefact: naming the first file that is missing, truncated or altered.
    """
    manifest = Manifest.load(folder)
    for split in manifest.splits.values():
        check_sizes(folder, split)
        for shard in split.shards:
            files.verify(folder / shard.name, shard.sha256, MADE_BY)
        load_index(folder, split, manifest.spec)
    return manifest
