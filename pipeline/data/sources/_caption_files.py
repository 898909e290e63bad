"""Files of captions: a csv or jsonl of sentences, each with the name of the file that it means."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

from pipeline import captions
from pipeline.data import regular
from pipeline.data.sources import _labels, _shared
from pipeline.errors import Damaged, Rejected, SettingsError
from pipeline.storage.damage import parse_json

WHERE = "ingest.source.captions"
RAISED_BY = "ingest.source.max_captions_bytes"
FILE, CAPTION = ("file", "file_name"), ("caption", "captions", "text")
JSONL = (".jsonl", ".ndjson")

Said = tuple[str, int]
"""A sentence, cleaned, which may be empty, and its number in the file of captions."""

Captions = Mapping[str, tuple[Said, ...]]
"""File → its sentences, each once, in the order of the rows."""


def read(path: Path, max_bytes: int) -> Captions:
    """All captions of a file, read once a process while it stays as it is.

    Raises:
        SettingsError: if it is no such file, or larger than is read.
    """
    return _read(*_shared.identity(path), max_bytes)


@functools.lru_cache(maxsize=2)
def _read(path: str, size: int, _changed: int, max_bytes: int) -> Captions:
    if Path(path).suffix.lower() in JSONL:
        return _each_once(_of_jsonl(path, max_bytes), path)
    with _labels.opened(path, (size, max_bytes), WHERE, RAISED_BY) as file:
        return _each_once(_of_csv(path, _labels.table(file)), path)


def parsed(data: bytes, name: str, shown: str) -> Captions:
    """`read` of a file that was read already; `name` tells whether it is a jsonl, `shown` is how errors call it.

    Raises:
        SettingsError: as `read`.
    """
    if PurePosixPath(name).suffix.lower() in JSONL:
        return _each_once(_of_lines(data, shown), shown)
    with _labels.parsing(data, shown, WHERE) as file:
        return _each_once(_of_csv(shown, _labels.table(file)), shown)


def _each_once(rows: Iterable[tuple[str, str]], path: str) -> Captions:
    """Rows by file, in their order, equal sentences of a file once.

    Raises:
        SettingsError: if there are none.
    """
    found: dict[str, dict[str, int]] = {}
    for number, (name, sentence) in enumerate(rows):
        found.setdefault(PurePosixPath(name).as_posix(), {}).setdefault(captions.cleaned(sentence), number)
    if not found:
        raise SettingsError(f"{WHERE}: {path} holds no captions")
    return {name: tuple(said.items()) for name, said in found.items()}


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
        return _of_lines(regular.read(Path(path), max_bytes), path)
    except Rejected as error:
        more = f"; if you trust it, raise {RAISED_BY}" if error.reason == "too many bytes" else ""
        raise SettingsError(f"{WHERE}: {path}: {error.reason} ({error.detail}){more}") from None


def _of_lines(data: bytes, path: str) -> list[tuple[str, str]]:
    try:
        text = data.decode("utf-8-sig")
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
    sentences = sentences_of(said)
    if not isinstance(name, str) or sentences is None:
        raise Damaged("it has no file, or no caption that is text")
    check_characters(name, *sentences)
    return [(name, each) for each in sentences or [""]]


def sentences_of(value: Any) -> list[str] | None:
    """The sentences of JSON: one, or a list of them; None where it is neither."""
    found: list[Any] = cast(list[Any], value) if isinstance(value, list) else [value]
    return cast(list[str], found) if all(isinstance(each, str) for each in found) else None


def check_characters(*found: str) -> None:
    """Refuse what JSON may write and no text can hold.

    Raises:
        Damaged: at half of a pair.
    """
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Damaged("it holds half a surrogate pair, which is no character") from None
