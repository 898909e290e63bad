"""Captions beside images: a csv or jsonl of sentences, which file each of them means, and how they become a field."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from pydantic import Field

from pipeline import captions, limits
from pipeline.data import notes, regular
from pipeline.data.source import SourceField, printable
from pipeline.data.sources import _labels, _shared
from pipeline.errors import Damaged, Rejected, SettingsError
from pipeline.settings import DataPath, Settings
from pipeline.storage.damage import parse_json
from pipeline.types import Array

WHERE = "ingest.source.captions"
RAISED_BY = "ingest.source.max_captions_bytes"
FILE, CAPTION = ("file", "file_name"), ("caption", "captions", "text")
JSONL = (".jsonl", ".ndjson")
OFFERED = {captions.FIELD: "captions: captions.csv"}
KEYS = ("captions", "captions_per_image", "caption_length", "long_captions")

Captions = Mapping[str, tuple[str, ...]]
"""File → its sentences, cleaned, in the order of the rows; some may be empty."""


class CaptionSettings(Settings):
    """The keys of a source that takes captions."""

    captions: DataPath | None = Field(
        default=None,
        description="a csv with the columns file (relative to the folder) and caption, a row a sentence; or a jsonl "
        "whose lines have file and caption, a sentence or a list of them",
    )
    captions_per_image: int = Field(default=5, ge=1, le=100, description="of more, the first are kept")
    caption_length: int = Field(
        default=201, ge=1, le=4096, description="bytes of UTF-8 that are kept of a caption; 201 is Reed et al.'s"
    )
    long_captions: Literal["cut", "reject"] = Field(
        default="cut", description="what is done with longer ones; reject: their image is rejected"
    )
    max_captions_bytes: int = Field(default=limits.CAPTIONS_BYTES, ge=1, description="a larger file is refused")


def field(config: CaptionSettings) -> tuple[SourceField, ...]:
    """The field of the captions; none where the settings name no file."""
    if config.captions is None:
        return ()
    shape = (config.captions_per_image, config.caption_length)
    return (SourceField(captions.FIELD, "text", aligned=False, shape=shape, stored="uint8"),)


def described(found: dict[str, Any]) -> dict[str, Any]:
    """A source's description without these keys, where there are no captions."""
    return found if found.get("captions") else {key: value for key, value in found.items() if key not in KEYS}


def check(config: CaptionSettings, where: str) -> None:
    """Refuse, with a `SettingsError`, a file that is not there, or holds no captions."""
    if config.captions is not None:
        _shared.require_file(config.captions, f"{where}.captions")
        read(config)


def read(config: CaptionSettings) -> Captions:
    """All captions of the file that the settings name.

    Raises:
        SettingsError: if it is no such file, or larger than is read.
    """
    return _read(*_shared.identity(Path(cast(str, config.captions))), config.max_captions_bytes)


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, _changed: int, max_bytes: int) -> Captions:
    if Path(path).suffix.lower() in JSONL:
        rows = _of_jsonl(path, max_bytes)
    else:
        with _labels.opened(path, (size, max_bytes), WHERE, RAISED_BY) as file:
            rows = list(_of_csv(path, _labels.table(file)))
    found: dict[str, dict[str, None]] = {}
    for name, sentence in rows:
        found.setdefault(PurePosixPath(name).as_posix(), {})[captions.cleaned(sentence)] = None
    if not found:
        raise SettingsError(f"{WHERE}: {path} holds no captions")
    return {name: tuple(sentences) for name, sentences in found.items()}


def _of_csv(path: str, reader: Iterator[list[str]]) -> Iterator[tuple[str, str]]:
    columns = [name.strip() for name in next(reader, [])]
    places: list[int] = []
    for names in (FILE, CAPTION):
        known = [column for column in columns if column in names]
        if len(known) != 1:
            shown = ",".join(columns)[:200]
            raise SettingsError(f"{WHERE}: {path} needs the columns file,caption in its first line, not '{shown}'")
        places.append(columns.index(known[0]))
    for row in filter(None, reader):
        name, sentence = (row[place].strip() if place < len(row) else "" for place in places)
        yield name, sentence


def _of_jsonl(path: str, max_bytes: int) -> list[tuple[str, str]]:
    try:
        text = regular.read(Path(path), max_bytes).decode("utf-8-sig")
    except Rejected as error:
        more = f"; if you trust it, raise {RAISED_BY}" if error.reason == "too many bytes" else ""
        raise SettingsError(f"{WHERE}: {path}: {error.reason} ({error.detail}){more}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{WHERE}: {path} is not UTF-8 ({error}); save it as UTF-8") from None
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found += _of_line(parse_json(line.encode()))
            except Damaged as error:
                raise SettingsError(
                    f"{WHERE}: line {number} of {path}: {error}; a line is "
                    '{"file": "a.png", "caption": "a sentence"}, or a list of sentences'
                ) from None
    return found


def _of_line(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        raise Damaged("it is no object")
    keys = cast(dict[str, Any], value)
    name = next((keys[key] for key in FILE if key in keys), None)
    said = next((keys[key] for key in CAPTION if key in keys), None)
    sentences: list[Any] = cast(list[Any], said) if isinstance(said, list) else [said]
    if not isinstance(name, str) or not all(isinstance(each, str) for each in sentences):
        raise Damaged("it has no file, or no caption that is text")
    try:
        json.dumps([name, *sentences], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Damaged("it holds half a surrogate pair, which is no character") from None
    return [(name, each) for each in sentences or [""]]


def met(found: Captions, files: Iterable[str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """File → captions for the files that are named, and the names that mean no file: written otherwise, as labels."""
    present = set(files)
    alike: dict[str, list[str]] = {}
    for name in present:
        alike.setdefault(_labels.plain(name), []).append(name)
    mine: dict[str, tuple[str, ...]] = {}
    lost: list[str] = []
    for name, sentences in found.items():
        meant = [name] if name in present else alike.get(_labels.plain(name), [])
        if len(meant) == 1:
            mine[meant[0]] = (*mine.get(meant[0], ()), *sentences)
        else:
            lost.append(name)
    return mine, sorted(lost)


def never_met(found: Captions, files: Iterable[str], config: CaptionSettings, folder: str) -> SettingsError:
    """What to say where no row means any file."""
    return SettingsError(
        f"{WHERE}: no row of {config.captions} names a file of '{folder}': it says '{printable(min(found))}', the "
        f"folder holds '{printable(min(files))}'; write names as they are below the folder"
    )


def encoded(sentences: tuple[str, ...], config: CaptionSettings) -> dict[str, Array]:
    """The field of one image's captions, with notes on what was left out of it.

    Raises:
        Rejected: where it has no caption, or one that is too long and may not be cut.
    """
    kept = [each for each in sentences if each]
    if not kept:
        raise Rejected("no caption", "its captions are empty" if sentences else "")
    if len(kept) < len(sentences):
        notes.leave(notes.EMPTY_CAPTIONS, value=len(sentences) - len(kept))
    if len(kept) > config.captions_per_image:
        notes.leave(notes.MORE_CAPTIONS, f"{len(kept)} captions", len(kept))
    kept = kept[: config.captions_per_image]
    longest = max(len(each.encode()) for each in kept)
    if longest > config.caption_length:
        if config.long_captions == "reject":
            raise Rejected("caption too long", f"{longest} bytes, and ingest.source.caption_length keeps "
                           f"{config.caption_length}")  # fmt: skip
        notes.leave(notes.CUT_CAPTIONS, f"{longest} bytes", longest)
    return {captions.FIELD: captions.packed(kept, config.captions_per_image, config.caption_length)}
