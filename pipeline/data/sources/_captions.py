"""Captions beside images: a csv or jsonl of sentences and which file each of them means, or what an item itself holds;
and how they become a field.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field, model_validator

from pipeline import captions, limits
from pipeline.data import notes
from pipeline.data.source import Entry, SourceField, printable
from pipeline.data.sources import _caption_files, _labels, _shared
from pipeline.data.sources._caption_files import WHERE, Captions, Said
from pipeline.errors import Damaged, Rejected, SettingsError
from pipeline.settings import DataPath, Settings
from pipeline.storage import arrays
from pipeline.types import Array

OFFERED = {captions.FIELD: "captions: captions.csv", captions.VECTORS: "captions: …, caption_vectors: vectors.npy"}
KEYS = ("captions", "captions_per_image", "caption_length", "long_captions", "caption_vectors")

Stored = tuple[bytes, tuple[str, ...], Array | None]
"""What is fetched of one item: its file, its sentences, and the vector of each, if there are such."""


class CaptionKeys(Settings):
    """What is kept of captions, wherever they stand."""

    captions_per_image: int = Field(default=5, ge=1, le=100, description="of more, the first are kept")
    caption_length: int = Field(
        default=201, ge=1, le=4096, description="bytes of UTF-8 that are kept of a caption; 201 is Reed et al.'s"
    )
    long_captions: Literal["cut", "reject"] = Field(
        default="cut", description="what is done with longer ones; reject: their image is rejected"
    )


class CaptionSettings(CaptionKeys):
    """The keys of a source that takes captions from a file beside its items."""

    captions: DataPath | None = Field(
        default=None,
        description="a csv with the columns file (relative to the folder) and caption, a row a sentence; or a jsonl "
        "whose lines have file and caption, a sentence or a list of them",
    )
    caption_vectors: DataPath | None = Field(
        default=None,
        description="a .npy (captions, numbers) of what another encoder made of them, in the order of the file: the "
        "field text_vectors",
    )
    max_captions_bytes: int = Field(default=limits.CAPTIONS_BYTES, ge=1, description="a larger file is refused")

    @model_validator(mode="after")
    def _vectors_of_captions(self) -> CaptionSettings:
        if self.caption_vectors is not None and self.captions is None:
            raise ValueError("caption_vectors: are of captions, and none are named; set captions")
        return self


def field(config: CaptionKeys, given: bool, vectors: bool = False) -> tuple[SourceField, ...]:
    """The field of the captions, and of their vectors; none where the settings name no captions."""
    if not given:
        return ()
    shape = (config.captions_per_image, config.caption_length)
    text = SourceField(captions.FIELD, "text", aligned=False, shape=shape, stored="uint8")
    return (text, SourceField(captions.VECTORS, "tensor", aligned=False)) if vectors else (text,)


def fields(config: CaptionSettings) -> tuple[SourceField, ...]:
    """The same of a file of captions."""
    return field(config, config.captions is not None, config.caption_vectors is not None)


def described(found: dict[str, Any]) -> dict[str, Any]:
    """A source's description without these keys, where there are no captions."""
    return found if found.get("captions") else {key: value for key, value in found.items() if key not in KEYS}


def check(config: CaptionSettings, where: str) -> None:
    """Refuse a file that is not there, or holds no captions.

    Raises:
        SettingsError: about its key.
    """
    if config.captions is not None:
        _shared.require_file(config.captions, f"{where}.captions")
        check_vectors(config, read(config), where)


def check_vectors(config: CaptionSettings, found: Captions, where: str) -> None:
    """Refuse vectors that are not there, or fewer than there are captions.

    Raises:
        SettingsError: about its key.
    """
    if config.caption_vectors is not None:
        count = max(number for said in found.values() for _, number in said) + 1
        _shared.require_file(config.caption_vectors, f"{where}.caption_vectors")
        if (rows := len(vectors(config))) < count:
            raise SettingsError(
                f"{where}.caption_vectors: {config.caption_vectors} has {rows} rows, and {config.captions} has "
                f"{count} captions; it needs one for each, in their order"
            )


def vectors(config: CaptionSettings) -> Array:
    """The vectors that the settings name, (rows, numbers), mapped.

    Raises:
        SettingsError: if the file holds something else.
    """
    return _vectors(*_shared.identity(Path(cast(str, config.caption_vectors))))


@functools.lru_cache(maxsize=2)
def _vectors(path: str, _size: int, _changed: int) -> Array:
    try:
        found = arrays.read(Path(path), mapped=True)
    except Damaged as error:
        raise SettingsError(f"ingest.source.caption_vectors: {path}: {error}") from None
    if found.ndim != 2 or not 0 < found.shape[1] <= limits.CAPTION_NUMBERS or found.dtype.kind != "f":
        raise SettingsError(
            f"ingest.source.caption_vectors: {path} is {found.dtype} {found.shape}; it must be a table of floats, "
            f"a row a caption, of at most {limits.CAPTION_NUMBERS} numbers"
        )
    return found


def read(config: CaptionSettings) -> Captions:
    """All captions of the file that the settings name.

    Raises:
        SettingsError: if it is no such file, or larger than is read.
    """
    return _caption_files.read(Path(cast(str, config.captions)), config.max_captions_bytes)


def met(found: Captions, files: Iterable[str]) -> tuple[dict[str, tuple[Said, ...]], list[str]]:
    """File → captions for the files that are named, and the names that mean no file: written otherwise, as labels."""
    present = set(files)
    alike: dict[str, list[str]] = {}
    for name in present:
        alike.setdefault(_labels.plain(name), []).append(name)
    mine: dict[str, tuple[Said, ...]] = {}
    lost: list[str] = []
    for name, said in found.items():
        meant = [name] if name in present else alike.get(_labels.plain(name), [])
        if len(meant) == 1:
            mine[meant[0]] = (*mine.get(meant[0], ()), *said)
        else:
            lost.append(name)
    return mine, sorted(lost)


def matched(
    entries: Sequence[tuple[str, Entry]], mine: Captions, lost: Sequence[str], config: CaptionSettings
) -> list[Entry]:
    """Entries with their files' names: those that no row names get a problem, and rows that mean none are added."""
    why = f"no row of {PurePosixPath(cast(str, config.captions)).name} names it"
    found = [
        replace(entry, problem=("no caption", why)) if entry.problem is None and name not in mine else entry
        for name, entry in entries
    ]
    named = {name for name, _ in entries}
    absent = [name for name in lost if name not in named]
    what = "named in the captions"
    return [*found, *(Entry(printable(name), name, problem=(_labels.absent(name)[0], what)) for name in absent)]


def never_met(found: Captions, files: Iterable[str], config: CaptionSettings, folder: str) -> SettingsError:
    """What to say where no row means any file."""
    return SettingsError(
        f"{WHERE}: no row of {config.captions} names a file of '{folder}': it says '{printable(min(found))}', the "
        f"folder holds '{printable(min(files))}'; write names as they are below the folder"
    )


def fetched(data: bytes, said: Sequence[Said], config: CaptionSettings) -> Stored:
    """An item's file with its captions, and their vectors."""
    found: Array | None = None
    if config.caption_vectors is not None:
        found = np.asarray(vectors(config)[[number for _, number in said]], dtype=np.float32)
    return data, tuple(sentence for sentence, _ in said), found


def own(data: bytes, sentences: Iterable[str]) -> Stored:
    """An item's file with the sentences that the item itself holds, each once."""
    return data, tuple(dict.fromkeys(captions.cleaned(each) for each in sentences)), None


def encoded(stored: Stored, config: CaptionKeys) -> dict[str, Array]:
    """The fields of one image's captions, with notes on what was left out of them.

    Raises:
        Rejected: where it has no caption, one that is too long and may not be cut, or a vector with NaN or infinity.
    """
    _, sentences, held = stored
    kept = [number for number, each in enumerate(sentences) if each]
    if not kept:
        raise Rejected("no caption", "its captions are empty" if sentences else "")
    if len(kept) < len(sentences):
        notes.leave(notes.EMPTY_CAPTIONS, value=len(sentences) - len(kept))
    if len(kept) > config.captions_per_image:
        notes.leave(notes.MORE_CAPTIONS, f"{len(kept)} captions", len(kept))
    kept = kept[: config.captions_per_image]
    longest = max(len(sentences[number].encode()) for number in kept)
    if longest > config.caption_length:
        if config.long_captions == "reject":
            limit = f"ingest.source.caption_length keeps {config.caption_length}"
            raise Rejected("caption too long", f"{longest} bytes, and {limit}")
        notes.leave(notes.CUT_CAPTIONS, f"{longest} bytes", longest)
    text = captions.packed([sentences[number] for number in kept], config.captions_per_image, config.caption_length)
    if held is None:
        return {captions.FIELD: text}
    if not np.isfinite(held[kept]).all():
        raise Rejected("vector not finite", "a number of a caption's vector is NaN or infinite")
    table = np.zeros((config.captions_per_image, held.shape[1]), dtype=np.float32)
    table[: len(kept)] = held[kept]
    return {captions.FIELD: text, captions.VECTORS: table}
