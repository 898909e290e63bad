"""A source for a machine that has none of its files: what its entries are stored as goes ahead, through a store.

<folder>/listing      what is known of the source, and its entries, each with its place in a parcel
<folder>/<sha256>     a parcel: what `fetch` gave of some entries, one after the other

Both are msgpack, and in the store each is known by its content, so that what is there already is not sent again. Where
a parcel ends is decided by the names of its entries: a file that comes or goes changes the parcel it is in, and hardly
another.
"""

from __future__ import annotations

import functools
import io
import re
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgpack
import numpy as np

from pipeline import limits
from pipeline.data import carrying, scanning
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Entry, Limits
from pipeline.errors import BrokenArtefact, Damaged, Rejected
from pipeline.storage import arrays
from pipeline.storage.damage import reading
from pipeline.storage.files import contents
from pipeline.storage.store import Store
from pipeline.types import Column, Mode

LISTING = "listing"
LEAST, MOST = 16 * 2**20, 128 * 2**20  # bytes of a parcel: the last is smaller, and one with a huge item larger
ENDS = 64  # beyond LEAST, about one entry in so many ends its parcel
NAME = re.compile(r"[0-9a-f]{64}")
ARRAY, PROBLEM = 1, 2  # msgpack's numbers for kinds of our own


def send(source: DataSource[Any], settings: IngestSettings, store: Store, progress: Callable[[int, int], None]) -> str:
    """Put into `store` what `ingest` with these settings reads of a source; returns what `receive` asks for.

    It is the sha256 of the listing: the same for the same content, names and order. On this machine there has to be
    room for one parcel.
    progress: is told after each parcel how many entries have gone, of how many.

    Raises:
        UserError: if the store does not answer.
    """
    entries = scanning.limited(source.entries(), settings.limit)
    rows: list[tuple[Any, ...]] = []
    parcels: list[str] = []
    content = bytearray()
    with tempfile.TemporaryDirectory(prefix="zerosum-") as folder:
        path = Path(folder) / "parcel"

        def put(data: bytes | bytearray) -> str:
            path.write_bytes(data)
            return store.put(path)

        for number, entry in enumerate(entries, 1):
            stored = b"" if entry.problem else _packed(carrying.fetched(source, entry, settings.limits))
            place = (len(parcels), len(content), len(stored))
            rows.append((entry.key, entry.where, entry.label, entry.problem, entry.unpaired, place))
            content += stored
            if len(content) >= MOST or (len(content) >= LEAST and _ends(entry)) or number == len(entries):
                parcels.append(put(content))
                content.clear()
                progress(number, len(entries))
        known = (
            source.native_shape(),
            source.rate(),
            source.classes(),
            source.expected_classes(),
            source.passed_over(),
            tuple(astuple(column) for column in source.columns()),
            source.label_column(),
        )
        return put(_packed((known, parcels, rows)))


def receive(store: Store, listing: str, folder: Path) -> None:
    """Fill `folder` with what `send` put into `store`, each file verified; there has to be room for all of it.

    Raises:
        UserError: if the store does not answer.
        BrokenArtefact: if it holds something else than was sent.
    """
    store.fetch(listing, folder / LISTING, limits.PARCEL_BYTES)
    for parcel in _listing(folder)[1]:
        store.fetch(parcel, folder / parcel, limits.PARCEL_BYTES)


class Parcelled(carrying.StandIn):
    """A source as it was when it was sent, out of the folder that `receive` has filled; it gives the same shards."""

    def __init__(self, source: DataSource[Any], folder: str) -> None:
        super().__init__(source)
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Parcelled, (self._source, self._folder)

    def native_shape(self) -> tuple[int, ...] | None:
        return _known(self._folder).native_shape

    def rate(self) -> int | None:
        return _known(self._folder).rate

    def classes(self) -> tuple[str, ...]:
        return _known(self._folder).classes

    def expected_classes(self) -> tuple[str, ...]:
        return _known(self._folder).expected_classes

    def entries(self) -> list[Entry]:
        return list(_known(self._folder).entries)

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        return _known(self._folder).passed_over

    def columns(self) -> tuple[Column, ...]:
        return _known(self._folder).columns

    def label_column(self) -> tuple[str, int] | None:
        return _known(self._folder).label_column

    def fetch(self, entry: Entry, limits: Limits) -> Any:
        parcel, first, size = _known(self._folder).places[entry]
        with (Path(self._folder) / parcel).open("rb") as file:
            file.seek(first)
            data = file.read(size)
        try:
            stored = _unpacked(data)
        except Damaged as error:
            raise BrokenArtefact(f"the parcel {parcel} is damaged at byte {first} ({error})") from None
        if isinstance(stored, Rejected):
            raise stored
        return stored


@dataclass(frozen=True)
class _Known:
    """What the listing says; places: for each entry the parcel's name, and there the first byte and the size."""

    native_shape: tuple[int, ...] | None
    rate: int | None
    classes: tuple[str, ...]
    expected_classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    places: dict[Entry, tuple[str, int, int]]
    passed_over: tuple[tuple[str, str], ...] = ()
    columns: tuple[Column, ...] = ()
    label_column: tuple[str, int] | None = None


@functools.lru_cache(maxsize=2)
def _known(folder: str) -> _Known:
    try:
        known, parcels, rows = _listing(Path(folder))
        with reading():
            entries = tuple(Entry(*entry) for *entry, _ in rows)
            places = {entry: _place(parcels, *row[-1]) for entry, row in zip(entries, rows, strict=True)}
            # A listing of an older version tells nothing of what was passed over, nor of columns.
            shape, rate, classes, expected, *later = known
            passed: Any = later[0] if later else ()
            columns = tuple(_column(column) for column in (later[1] if len(later) > 1 else ()))
            label: Any = later[2] if len(later) > 2 else None
            return _Known(shape, rate, classes, expected, entries, places, passed, columns, label)
    except Damaged as error:
        raise BrokenArtefact(f"{Path(folder) / LISTING} is damaged ({error})") from None


def _listing(folder: Path) -> tuple[Any, tuple[str, ...], Any]:
    """What is known of the source, the parcels' names, and a row for each entry.

    Raises:
        BrokenArtefact: if it is something else.
    """
    data = contents(folder / LISTING, limits.PARCEL_BYTES, "the workstation")
    try:
        with reading():
            known, parcels, rows = _unpacked(data)
        if not all(isinstance(name, str) and NAME.fullmatch(name) for name in parcels):
            raise Damaged("a parcel's name is no sha256")
    except (Damaged, TypeError) as error:
        raise BrokenArtefact(f"{folder / LISTING} is damaged ({error})") from None
    return known, tuple(parcels), rows


def _column(values: tuple[Any, ...]) -> Column:
    column = Column(*values)  # a listing of an older version has fewer values
    return replace(column, modes=tuple(Mode(*cast(tuple[float, float, float], mode)) for mode in column.modes))


def _place(parcels: tuple[str, ...], number: int, first: int, size: int) -> tuple[str, int, int]:
    if not 0 <= size <= limits.PARCEL_BYTES or first < 0 or number < 0:
        raise Damaged(f"{size} bytes at {first} of parcel {number}")
    return parcels[number], first, size


def _ends(entry: Entry) -> bool:
    return zlib.crc32(entry.key.encode("utf-8", "surrogateescape")) % ENDS == 0


def _packed(value: Any) -> bytes:
    """Numbers, text, bytes, tuples, arrays, and why an item cannot be used."""
    return cast(bytes, msgpack.packb(value, default=_as_ours, unicode_errors="surrogateescape"))


def _unpacked(data: bytes) -> Any:
    """The inverse.

    Raises:
        Damaged: for anything else.
    """
    return _plain(data, _of_ours)


def _plain(data: bytes, ours: Callable[[int, bytes], Any]) -> Any:
    with reading():
        try:
            # All of it has to be there before lists of the lengths that it tells of are made.
            walked = msgpack.Unpacker(max_buffer_size=max(1, len(data)), max_map_len=0)
            walked.feed(data)
            walked.skip()
            return msgpack.unpackb(data, ext_hook=ours, unicode_errors="surrogateescape", use_list=False, max_map_len=0)
        except msgpack.UnpackException as error:  # some of them are no ValueError
            raise Damaged(f"{type(error).__name__} {error}".strip()) from None


def _as_ours(value: Any) -> msgpack.ExtType:
    if isinstance(value, Rejected):
        return msgpack.ExtType(PROBLEM, _packed((value.reason, value.detail)))
    if isinstance(value, np.ndarray):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return msgpack.ExtType(ARRAY, file.getvalue())
    raise TypeError(f"what a source stores is of plain values and arrays, not a {type(value).__name__}")


def _of_ours(kind: int, data: bytes) -> Any:
    if kind == PROBLEM:
        reason, detail = _plain(data, _none_within)
        return Rejected(str(reason), str(detail))
    if kind == ARRAY:
        return arrays.decode(data)
    raise Damaged(f"it holds msgpack's kind {kind}, which zerosum does not write")


def _none_within(kind: int, _: bytes) -> Any:
    """A recursion through msgpack's own code, which no limit of Python's ends."""
    raise Damaged(f"msgpack's kind {kind} within another")
