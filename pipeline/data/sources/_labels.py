"""A csv of labels: its rows, and which file each of them means."""

from __future__ import annotations

import csv
import functools
import io
import unicodedata
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TextIO, cast

from pipeline import limits
from pipeline.data import regular
from pipeline.data.source import Problem, printable
from pipeline.data.sources import _shared
from pipeline.errors import Damaged, Rejected, SettingsError
from pipeline.redaction import visible

WHERE = "ingest.source.labels"
SHOWN = 400  # characters of a first line that is told


def rows(path: Path, max_bytes: int = limits.CSV_BYTES) -> dict[str, str]:
    """File → label of a csv with these two columns, in its order.

    Raises:
        SettingsError: if it is no such csv, gives one file two labels, or has more than `max_bytes`.
    """
    return _rows(*_shared.identity(path), max_bytes)


@functools.lru_cache(maxsize=4)
def _rows(path: str, size: int, _changed: int, max_bytes: int) -> dict[str, str]:
    with opened(path, (size, max_bytes), WHERE, "ingest.source.max_labels_bytes") as file:
        return _labels(path, file)


@contextmanager
def opened(path: str, size: tuple[int, int], where: str, raised_by: str) -> Generator[TextIO]:
    """A csv as text, for `table`. size: its bytes, and how many are read; where, raised_by: settings, for errors.

    Raises:
        SettingsError: if it is larger, or for what is met in the block: bytes that are no UTF-8, text that is no csv.
    """
    if size[0] > size[1]:
        raise SettingsError(
            f"{where}: {path} has {size[0]} bytes, allowed are {size[1]}; if you trust it, raise {raised_by}"
        )
    csv.field_size_limit(limits.CSV_FIELD_CHARACTERS)
    try:
        with (
            regular.opened(Path(path)) as raw,
            io.TextIOWrapper(io.BufferedReader(raw), "utf-8-sig", newline="") as file,
        ):
            yield file
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{where}: {path} is no csv in UTF-8 ({error})") from None
    except Rejected as error:
        raise SettingsError(f"{where}: {path}: {error.reason}") from None
    except OSError as error:
        raise SettingsError(f"{where}: {path} cannot be read ({error.strerror})") from None


def table(file: TextIO, separator: str = ",", seen: list[str] | None = None) -> Iterator[list[str]]:
    """The rows of a csv, no line longer than is read; the first line is left in `seen`."""
    return csv.reader(_lines(file, [] if seen is None else seen), strict=True, delimiter=separator)


def parsed(data: bytes, name: str) -> dict[str, str]:
    """`rows` of a csv that was read already; `name` is how errors call it.

    Raises:
        SettingsError: as `rows`.
    """
    with parsing(data, name, WHERE) as file:
        return _labels(name, file)


@contextmanager
def parsing(data: bytes, name: str, where: str) -> Generator[TextIO]:
    """`opened` of a csv that was read already.

    Raises:
        SettingsError: for what is met in the block: bytes that are no UTF-8, text that is no csv.
    """
    csv.field_size_limit(limits.CSV_FIELD_CHARACTERS)
    try:
        yield io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{where}: {name} is no csv in UTF-8 ({error})") from None


def _lines(file: TextIO, seen: list[str]) -> Iterator[str]:
    """The lines, none of them longer than is read; the first is left in `seen`.

    Raises:
        csv.Error: at a longer one.
    """
    while line := file.readline(limits.CSV_LINE_CHARACTERS + 1):
        if len(line) > limits.CSV_LINE_CHARACTERS:
            raise csv.Error(f"a line is longer than {limits.CSV_LINE_CHARACTERS} characters")
        if not seen:
            seen.append(line)
        yield line


def _labels(path: str, file: TextIO) -> dict[str, str]:
    seen: list[str] = []
    reader = table(file, seen=seen)
    columns = [name.strip() for name in next(reader, [])]
    if not any(columns):
        raise SettingsError(f"{WHERE}: {path} is empty, or its first line is; it needs the columns file,label")
    if "file" not in columns or "label" not in columns:
        separated = _separated(seen[0].rstrip("\r\n"))
        found = ",".join(columns)
        told = found if len(found) <= SHOWN else f"{found[:SHOWN]}…"
        raise SettingsError(f"{WHERE}: {path} needs the columns file,label, not {told}{separated}")
    twice = [name for name in ("file", "label") if columns.count(name) > 1]
    if twice:
        raise SettingsError(
            f"{WHERE}: {path} has {columns.count(twice[0])} columns '{twice[0]}'; leave one of this name"
        )
    labels: dict[str, str] = {}
    of_file, of_label = columns.index("file"), columns.index("label")
    # Not a dictionary of each row, which would hold all columns of the first line however short the row is.
    for row in filter(None, reader):
        name = PurePosixPath(_field(row, of_file)).as_posix()
        label = visible(_field(row, of_label), lines=False)  # a class is its name, on terminals too
        if labels.setdefault(name, label) != label:
            raise SettingsError(f"{WHERE}: {path} gives '{name}' two labels, '{labels[name]}' and '{label}'")
    if not labels:
        raise SettingsError(f"{WHERE}: {path} holds no rows")
    return labels


def _field(row: list[str], number: int) -> str:
    return row[number].strip() if number < len(row) else ""


def _separated(header: str) -> str:
    """What to say of a first line that holds no comma."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if mark in header and "," not in header:
            return f"; its columns are separated by {name}: save it with commas"
    return ""


def of_dataset(value: Any) -> dict[str, str]:
    """File → label of StyleGAN's `{"labels": [["00000/img00000000.png", 3], …]}`, or of `"labels": null` nothing.

    Raises:
        Damaged: if it is something else.
    """
    if not isinstance(value, dict) or "labels" not in value:
        raise Damaged("it has no key labels")
    rows: Any = cast(dict[str, Any], value)["labels"]
    if rows is None:
        return {}
    if not isinstance(rows, list):
        raise Damaged("its labels are neither a list nor null")
    found: dict[str, str] = {}
    for row in cast(list[Any], rows):
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):  # pyright: ignore[reportUnknownArgumentType] (JSON)
            raise Damaged("a row is no pair of a name and a label")
        name, label = cast(tuple[str, Any], row)
        if type(label) is not int or label < 0:
            raise Damaged("a label is no whole number from 0 on; vectors of labels are not read")
        if found.setdefault(name, str(label)) != str(label):
            raise Damaged(f"it gives '{printable(name)}' two labels")
    return found


# --- rows and files ---------------------------------------------------------------------------------


def met(labels: dict[str, str], files: Iterable[str], path: Path) -> tuple[dict[str, str], list[str]]:
    """File → label for the files that a row means, and the rows that mean none.

    A row means the file of just its name; else the one whose name is written otherwise: with `\\` for `/`, with `./`
    before it, in another form of Unicode.

    Raises:
        SettingsError: if two rows mean one file and give it two labels.
    """
    present = dict.fromkeys(files)
    found = {name: label for name, label in labels.items() if name in present}
    if len(found) == len(labels):
        return found, []
    alike: dict[str, list[str]] = {}
    for name in present:
        alike.setdefault(plain(name), []).append(name)
    lost: list[str] = []
    for name, label in labels.items():
        if name in present:
            continue
        meant = alike.get(plain(name), [])
        if len(meant) != 1:
            lost.append(name)
        elif found.setdefault(meant[0], label) != label:
            raise SettingsError(
                f"{WHERE}: {path} gives '{printable(meant[0])}' two labels, '{found[meant[0]]}' and '{label}'"
            )
    return found, lost


def plain(name: str) -> str:
    """A name as others may have written it, in one way: `/` between folders, no `./`, composed characters (NFC)."""
    return unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())


def absent(name: str) -> Problem:
    """Why a row that means no file cannot be used."""
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts
    return ("path leaving the folder", "named in the labels") if outside else ("missing file", "named in the labels")


def never_met(labels: Collection[str], files: Collection[str], path: Path, folder: str) -> SettingsError:
    """What to say where no row means any file: one of each, and the one change by which they would meet."""
    row, file = min(labels), min(files)
    change, pair = _change([plain(name) for name in labels], [plain(name) for name in files])
    if pair is not None:
        row, file = pair
    return SettingsError(
        f"{WHERE}: no row of {path} names a file of '{folder}': the csv says '{printable(row)}', the folder holds "
        f"'{printable(file)}'; {change or 'write the names as they are below the folder, such as that one'}"
    )


Meeting = tuple[str, tuple[str, str] | None]


def _change(rows: list[str], files: list[str]) -> Meeting:
    """The change that makes most rows meet a file, in words, with a row and a file that meet by it."""
    ways: list[tuple[Callable[[str], str], Callable[[str], str], Callable[[str, str], str]]] = [
        (str.casefold, str.casefold, lambda *_: "write capitals and small letters as in the files' names"),
        (str, _without_ending, lambda _, file: f"write the ending too, as in '{PurePosixPath(file).name}'"),
        (_without_ending, _without_ending, lambda _, file: f"write the ending of the files, '{_ending(file)}'"),
        (_last, str, lambda row, file: f"leave '{row[: len(row) - len(file)]}' out of the names in the csv"),
        (str, _last, lambda row, file: f"write '{file[: len(file) - len(row)]}' before the names in the csv"),
        (_last, _last, lambda row, file: f"write '{_before(file)}' in place of '{_before(row)}' in the csv"),
    ]
    # Some leading folders may be right: those that most rows have more than the files are taken off.
    for depth in range(1, min(4, max((name.count("/") for name in rows), default=0)) + 1):
        ways.insert(4, (functools.partial(_cut, depth=depth), str, ways[3][2]))
    best: tuple[int, Meeting] = (0, ("", None))
    for of_row, of_file, says in ways:
        known = {of_file(file): file for file in reversed(files)}
        meeting = [(row, known[of_row(row)]) for row in rows if of_row(row) in known]
        if len(meeting) > best[0]:
            best = (len(meeting), (says(*meeting[0]), meeting[0]))
    return best[1]


def _without_ending(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _before(name: str) -> str:
    return name[: len(name) - len(_last(name))]


def _cut(name: str, depth: int) -> str:
    return "/".join(name.split("/")[depth:])
