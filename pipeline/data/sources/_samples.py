"""Webdataset's samples: what a name with braces stands for, which members belong together, and what these say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from pipeline import limits
from pipeline.data.kinds import IMAGES
from pipeline.data.source import Problem
from pipeline.data.sources import _caption_files
from pipeline.data.sources._members import Member
from pipeline.errors import Damaged, SettingsError
from pipeline.redaction import visible
from pipeline.storage.damage import parse_json

LABEL_CHARACTERS = 1000
RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?\}")
META = re.compile(r"__[^/]*__($|/)")  # what webdataset itself leaves out


@dataclass(frozen=True)
class Sample:
    """number: its shard's. members: by their ending. images: those that may be its image. again: a name that came
    before."""

    number: int
    shard: str
    key: str
    members: dict[str, Member]
    images: tuple[str, ...]
    again: int = 0


def grouped(number: int, shard: str, members: tuple[Member, ...], wanted: tuple[str, ...] | None) -> Iterator[Sample]:
    """The samples of a shard, as webdataset groups its members. wanted: the endings of images; None: all.

    What it is given as a member's data is where the data lies.
    """
    from webdataset.tariterators import group_by_keys

    files = (
        {"fname": member.name.removeprefix("./"), "data": member, "__url__": shard}
        for member in members
        if member.problem is None and META.match(member.name) is None
    )
    seen: set[str] = set()
    for count, sample in enumerate(group_by_keys(files, handler=_keep_first)):
        key = str(sample["__key__"])
        held = {suffix: each for suffix, each in sample.items() if isinstance(each, Member)}
        yield Sample(number, shard, key, held, _images(held, wanted), count if key in seen else 0)
        seen.add(key)


def _keep_first(error: Exception) -> bool:
    """Of two members whose endings differ in capitals alone, the first is the sample's."""
    return isinstance(error, ValueError)


def _images(members: dict[str, Member], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The endings of what may be a sample's image: those that are wanted, or all; `png` before `left.png`."""
    if wanted is not None:
        return tuple(suffix for suffix in members if suffix in wanted)[:1]
    found = tuple(suffix for suffix in members if f".{suffix.rpartition('.')[2]}" in IMAGES.endings)
    plain = tuple(suffix for suffix in found if "." not in suffix)
    return plain or found


def expanded(url: str) -> list[str]:
    """The names that braces stand for, as webdataset reads them.

    Raises:
        SettingsError: if they are too many, or the braces do not match.
    """
    from braceexpand import braceexpand

    try:
        count = math.prod(abs(int(end) - int(begin)) + 1 for begin, end in RANGE.findall(url))
        found = (
            list(islice(braceexpand(url, escape=False), limits.WEBDATASET_SHARDS + 1))
            if count <= limits.WEBDATASET_SHARDS
            else None
        )
    except (RecursionError, ValueError) as error:
        raise SettingsError(f"ingest.source.urls: '{url[:200]}' cannot be read ({error})") from None
    if found is None or len(found) > limits.WEBDATASET_SHARDS:
        raise SettingsError(f"ingest.source.urls: '{url[:200]}' names more than {limits.WEBDATASET_SHARDS} shards")
    return found


# --- what members say ---------------------------------------------------------------------------------


def sentences(data: bytes, key: str) -> list[str]:
    """The sentences of a member: its text, or what an object of JSON has under `key`.

    Raises:
        Damaged: if it is no such JSON.
        UnicodeDecodeError: if it is no UTF-8.
    """
    if not key:
        return [data.decode("utf-8-sig")]
    value: Any = parse_json(data)
    said = cast(dict[str, Any], value).get(key) if isinstance(value, dict) else None
    found = [] if said is None else _caption_files.sentences_of(said)
    if found is None:
        raise Damaged(f"{key} is neither a sentence nor a list of them")
    _caption_files.check_characters(*found)
    return found


def class_of(value: Any, names: tuple[str, ...]) -> tuple[str | None, Problem | None]:
    """The class of a whole number or a text."""
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        return None, ("no label in the sample", "")
    text = visible(str(value), lines=False)
    if len(text) > LABEL_CHARACTERS:
        return None, ("unknown label", f"{len(text)} characters")
    if not names or text in names:
        return text, None
    if text.isdecimal() and len(text) < 10 and int(text) < len(names):
        return names[int(text)], None
    return None, ("unknown label", f"{text}, and there are {len(names)} classes")
