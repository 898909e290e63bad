"""What every source is: a list of entries in a fixed order, and a way to read one of them."""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pipeline import limits
from pipeline.redaction import visible
from pipeline.settings import Settings
from pipeline.storage import fetched
from pipeline.types import FLIPPED, Array, Column, Dtype, FieldKind, FieldSpec, Modality, usual_dtype

WORDS = frozenset({"folders", "none"})
"""Values of a setting that names a file otherwise."""

Problem = tuple[str, str]
"""Why an item cannot be used: a short reason that can be counted, and details."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one item may cost: bytes as stored, pixels once decoded."""

    max_bytes: int = limits.ITEM_BYTES
    max_pixels: int = limits.ITEM_PIXELS


USUAL = Limits()


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a source, not yet read.

    key: the name a person knows it by (a relative path, a record's number).
    where: what `read` needs to find it; only its source understands it.
    problem: why it cannot be used, (reason, detail), where listing it has shown that already.
    unpaired: it belongs to the other domain, of two.
    """

    key: str
    where: str | tuple[int, ...]
    label: str | None = None
    problem: Problem | None = None
    unpaired: bool = False


@dataclass(frozen=True, slots=True)
class SourceField:
    """What a source says of a field beside x before anything is read.

    source: `same_item`, what `decode_fields` gives, or `other_domain`, x of the entries that are `unpaired`.
    aligned: an image or a mask shows what x shows, place by place: it gets x's resolution, with the same region kept.
        All else is stored as the source gives it.
    shape: as it is packed, where that is known and not x's. stored: its type, where it is not the kind's usual one.
    channels: of an aligned mask, where its sides are x's. ground: a mask's value beyond the border of what is padded.
    """

    name: str
    kind: FieldKind = "image"
    source: Literal["same_item", "other_domain"] = "same_item"
    aligned: bool = True
    shape: tuple[int, ...] | None = None
    stored: Dtype | None = None
    channels: int | None = None
    ground: int = 0

    @property
    def dtype(self) -> Dtype:
        """What it is stored as."""
        return self.stored or usual_dtype(self.kind)

    @property
    def fitted(self) -> bool:
        """Whether ingest brings it to x's resolution."""
        return self.aligned and self.kind in FLIPPED

    def spec(self, shape: tuple[int, ...]) -> FieldSpec:
        """The field with a shape that is known by now."""
        return replace(FieldSpec.usual(self.name, self.kind, shape, self.source), dtype=self.dtype)


ConfigT = TypeVar("ConfigT", bound=Settings)


class DataSource(ABC, Generic[ConfigT]):
    """A file in `sources/` holds `Config` and one subclass named `Source`, built from it.

    A source travels to other processes as its Config alone, as it was given: what lies at an address is fetched by each
    machine that reads it. Listing is cheap; reading one entry neither needs nor changes any other. It has two halves:
    `fetch` is light, and done where the files are; `decode` is the work, and may be done on another machine.

    fields: what its examples hold beside x, such as a `pair` from the same item, or another domain's items.
    offered: fields that it has where a setting names them: field → that setting, as it is written.
    may_be_empty: whether no item at all is as it should be.
    """

    paths: ClassVar[tuple[str, ...]] = ()
    offered: ClassVar[Mapping[str, str]] = {}
    fields: tuple[SourceField, ...] = ()
    may_be_empty: bool = False

    def __init__(self, given: ConfigT) -> None:
        self.given = given

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.given,)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        """Write a few items into an empty folder, a broken one among them; returns the settings that read them.

        It shows what a source takes, and the contract tests read it. A source without files needs none.
        """
        return {}

    @functools.cached_property
    def config(self) -> ConfigT:
        """The settings, with a place on this machine for each address: what is there is fetched when this is asked."""
        found = {field: fetched.local(address, f"ingest.source.{field}") for field, address in self.addresses().items()}
        return self.given.model_copy(update=found)

    def addresses(self) -> dict[str, str]:
        """The settings of `paths` that are addresses, with what they name."""
        given = {field: getattr(self.given, field) for field in self.paths}
        return {field: path for field, path in given.items() if isinstance(path, str) and fetched.is_address(path)}

    def check(self, where: str = "ingest.source") -> None:
        """Refuse, with a `SettingsError` that names the key under `where`, files that are not there. Reads no data."""

    @property
    def other_domain(self) -> SourceField | None:
        """The field that is another domain's x."""
        return next((each for each in self.fields if each.source == "other_domain"), None)

    @property
    def modality(self) -> Modality:
        """What its examples are."""
        return "image"

    @property
    def dtype(self) -> Literal["uint8", "float32"]:
        """What its examples are stored as: uint8 becomes [-1, 1] in batches, float32 stays as it is."""
        return "uint8" if self.modality == "image" else "float32"

    @property
    def frames(self) -> int | None:
        """Of videos, how many pictures an example has; `ingest.resolution` and `ingest.channels` are of each."""
        return None

    def native_shape(self) -> tuple[int, ...] | None:
        """One example's shape, (C, H, W) of images, where that is known without reading them all, else None."""
        return None

    def rate(self) -> int | None:
        """Samples a second of its waveforms."""
        return None

    def columns(self) -> tuple[Column, ...]:
        """Of rows of a table, what the numbers of x stand for."""
        return ()

    def expected_columns(self) -> tuple[Column, ...]:
        """`columns()`, with stand-ins for what takes longer than a check may."""
        return self.columns()

    def label_column(self) -> tuple[str, int] | None:
        """Of a labelled table, the name of the column that holds the class, and how many columns of x stand before."""
        return None

    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of their numbers; empty where nothing is labelled."""

    def expected_classes(self) -> tuple[str, ...]:
        """`classes()`, as far as they are known before anything large is unpacked."""
        return self.classes()

    @abstractmethod
    def entries(self) -> Sequence[Entry]:
        """Every item, good or bad, in an order that depends on nothing but the data."""

    def expected_entries(self) -> Sequence[Entry] | None:
        """`entries()`, or None where something large would have to be unpacked for them."""
        return self.entries()

    def remote(self) -> tuple[tuple[str, str], ...]:
        """(setting, address) of everything that is read from elsewhere: DVC has to see what it is now."""
        return tuple((f"ingest.source.{field}", address) for field, address in self.addresses().items())

    def named(self) -> dict[str, str]:
        """The settings of `paths` that name files or folders of this machine, with what they name: `labels: none` names
        none."""
        given = {field: getattr(self.given, field) for field in self.paths}
        addresses = self.addresses()
        return {field: path for field, path in given.items() if path and path not in WORDS and field not in addresses}

    def linked(self) -> tuple[Path, ...]:
        """Folders outside of its own that links within it lead to, resolved: DVC has to watch them too."""
        return ()

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        """(item, why) of what lies among its files and is none of its items, such as captions beside images."""
        return ()

    @abstractmethod
    def fetch(self, entry: Entry, limits: Limits) -> Any:
        """What is stored of one entry, such as a file's bytes: bytes, text, numbers, arrays, and tuples of them.

        Raises:
            Rejected: if this item cannot be used.
        """

    @abstractmethod
    def decode(self, stored: Any, limits: Limits) -> Array:
        """Of what `fetch` gave, one image, uint8 (H, W, C) with 1, 3 or 4 channels, or of a video its frames, uint8
        (T, H, W, C); of another modality an array of `dtype`, shaped as it is packed. Opens no file.

        Raises:
            Rejected: if this item cannot be used.
        """

    def decode_fields(self, stored: Any, limits: Limits) -> dict[str, Array]:
        """What else the same item holds, by name: each field of the same item, images and masks uint8 (H, W, C), all
        else as it is packed.

        Raises:
            Rejected: if this item cannot be used.
        """
        return {}

    def read(self, entry: Entry, limits: Limits) -> Array:
        """`fetch` and `decode`.

        Raises:
            Rejected: if this item cannot be used.
        """
        return self.decode(self.fetch(entry, limits), limits)

    def describe(self) -> dict[str, Any]:
        """Its name and settings as the manifest records them: of `paths` the last name, of caps (`max_…`) and `links`
        nothing, since what came of them is recorded."""
        dumped = self.given.model_dump(mode="json")
        settings = {
            field: value for field, value in dumped.items() if not field.startswith("max_") and field != "links"
        }
        for field in self.paths:
            if path := settings.get(field):
                settings[field] = _last(path) if isinstance(path, str) else [_last(each) for each in path]
        return {"name": type(self).__module__.rpartition(".")[2], **settings}


def _last(path: str) -> str:
    return fetched.name_of(path) if fetched.is_address(path) else Path(path).name


def printable(name: str) -> str:
    """A file name as UTF-8 and a terminal can hold it: bytes that are none, and control characters, as \\xNN."""
    return visible(os.fsencode(name).decode("utf-8", "backslashreplace"), lines=False)
