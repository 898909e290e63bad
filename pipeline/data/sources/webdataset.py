"""Webdataset shards: tar files whose members of one name, up to the first dot, are one sample.

The webdataset library says which shards a name in braces means, and which members are a sample. It opens nothing: what
it would do for an address (`pipe:` runs a command) cannot be asked for, and members that are pickles are never decoded.
Items are read one by one where they lie, so that any number of workers reads a shard at once.

Shards that ingest made are packed again like any others: resolution, splits and order are this project's settings, and
`artifacts/shards` is what DVC keeps. Of their manifest the names of the classes are taken.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline import limits
from pipeline.captions import FIELD
from pipeline.data import images
from pipeline.data.kinds import IMAGES
from pipeline.data.source import DataSource, Entry, Limits, Problem, printable
from pipeline.data.sources import _captions, _members, _samples, _shared
from pipeline.data.sources._captions import CaptionKeys, Stored
from pipeline.data.sources._members import Member
from pipeline.data.sources._samples import Sample
from pipeline.errors import BrokenArtefact, Damaged, Rejected, SettingsError
from pipeline.formats.shards import MANIFEST, Manifest
from pipeline.natural import natural
from pipeline.settings import DataPath
from pipeline.storage import fetched
from pipeline.storage.damage import parse_json
from pipeline.types import Array

LABEL_BYTES = 2**16


class Config(CaptionKeys):
    """Which shards, and which members of a sample."""

    urls: DataPath | tuple[DataPath, ...] = Field(
        description="shards/train-{000000..000146}.tar, or a list of such; compressed tars are read too"
    )
    image: str | None = Field(
        default=None, description="the image's ending, as jpg or left.png; several with ; between; null: the only one"
    )
    labels: str = Field(
        default="auto",
        description="where a sample's label is: cls, txt, or json.KEY; none: unlabelled; auto: cls, if there is one",
    )
    classes: tuple[str, ...] | None = Field(default=None, description="class names by number; null: the numbers")
    captions: str | None = Field(
        default=None, description="where a sample's caption is: txt, or json.KEY, a sentence or a list; null: none"
    )
    max_members: int = Field(default=limits.ARCHIVE_ITEMS, ge=1, description="a shard of more is refused")
    max_unpacked_bytes: int | None = Field(
        default=None, ge=1, description="a compressed shard may not unpack to more; null: 1 GiB, or four times its size"
    )

    @field_validator("labels")
    @classmethod
    def _known(cls, value: str) -> str:
        if value in ("auto", "none", "cls", "txt") or (value.startswith("json.") and value != "json."):
            return value
        raise ValueError(f"'{value}' is not one of auto, none, cls, txt and json.KEY")

    @field_validator("captions")
    @classmethod
    def _place(cls, value: str | None) -> str | None:
        if value is None or value == "txt" or (value.startswith("json.") and value != "json."):
            return value
        raise ValueError(f"'{value}' is not one of txt and json.KEY")

    @field_validator("classes")
    @classmethod
    def _different(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("must be different names")
        return value


class Source(DataSource[Config]):
    """Every sample, in the order of the shards and of the samples in them; classes by number, or in natural order."""

    paths = ("urls",)
    offered: ClassVar[Mapping[str, str]] = {FIELD: "captions: txt"}

    def __init__(self, given: Config) -> None:
        super().__init__(given)
        self.fields = _captions.field(given, given.captions is not None)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        import io
        import tarfile

        from PIL import Image

        file = io.BytesIO()
        Image.new("RGB", (4, 5), (1, 2, 3)).save(file, "PNG")
        with tarfile.open(folder / "0.tar", "w") as tar:
            for name, data in {"0.png": b"", "0.cls": b"0", "1.png": file.getvalue(), "1.cls": b"1"}.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return {"urls": str(folder / "{0..0}.tar")}

    def check(self, where: str = "ingest.source") -> None:
        for path in self._shards:
            if Path(path).is_dir():
                held = sorted((each.name for each in Path(path).glob("*.tar*")), key=natural)
                such = f", such as {Path(path) / held[0]}" if held else ""
                raise SettingsError(f"{where}.urls: '{path}' is a folder; name its shards{such}, with braces for many")
            _shared.require_file(path, f"{where}.urls")
        if not any(sample.images for sample in self._samples):
            held = sorted({suffix for sample in self._samples for suffix in sample.members}, key=natural)
            known = f"it holds {', '.join(map(printable, held[:8]))}" if held else "it holds no sample"
            wanted = f"'{self.config.image}'" if self.config.image else "an image (jpg, png, webp)"
            raise SettingsError(f"{where}.image: no sample has a member {wanted}; {known}")
        several = next((sample for sample in self._samples if len(sample.images) > 1), None)
        if several is not None:
            known = ", ".join(map(printable, several.images))
            raise SettingsError(f"{where}.image: which member? The sample '{several.key}' holds {known}")
        if self.config.labels not in ("auto", "none") and not any(label for label, _ in self._labels):
            raise SettingsError(f"{where}.labels: no sample has a label at {self.config.labels}")
        if self._caption is not None and not any(self._caption in sample.members for sample in self._samples):
            raise SettingsError(f"{where}.captions: no sample has a member '{self._caption}'")

    def classes(self) -> tuple[str, ...]:
        if self._label is None:
            return ()
        return self._names or tuple(sorted({label for label, _ in self._labels if label is not None}, key=natural))

    def entries(self) -> list[Entry]:
        labels = self._labels if self._label else [(None, None)] * len(self._samples)
        found = [self._entry(sample, *label) for sample, label in zip(self._samples, labels, strict=True)]
        return [*found, *(Entry(key, key, problem=problem) for key, problem in self._refused)]

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        taken = {self._label, self._caption, *(sample.images[0] for sample in self._samples if sample.images)}
        left = [
            (f"{sample.shard}/{printable(member.name)}", f"no {IMAGES.name}")
            for sample in self._samples
            for suffix, member in sample.members.items()
            if suffix not in taken
        ]
        return tuple(sorted([*left, *self._passed]))

    def addresses(self) -> dict[str, str]:
        """None: what the settings name are not addresses yet, and braces stand for many."""
        return {}

    def remote(self) -> tuple[tuple[str, str], ...]:
        return tuple(("ingest.source.urls", url) for url in self._urls if fetched.is_address(url))

    def named(self) -> dict[str, str]:
        """The one shard of this machine, or the folder that holds all."""
        here = [url for url in self._urls if not fetched.is_address(url)]
        return {"urls": here[0] if len(here) == 1 else _above(here)} if here else {}

    def describe(self) -> dict[str, Any]:
        return _captions.described(super().describe())

    def fetch(self, entry: Entry, limits: Limits) -> bytes | Stored:
        """The image's file; with captions, those of the sample beside it."""
        number, *place = cast(tuple[int, ...], entry.where)
        path = Path(self._shards[number])
        if self.config.captions is None:
            return _members.read(path, tuple(place), self._caps, limits)
        length, *places = place
        image, caption = tuple(places[:length]), tuple(places[length:])
        data = _members.read(path, image, self._caps, limits)
        return _captions.own(data, self._sentences(path, caption) if caption else ())

    def decode(self, stored: bytes | Stored, limits: Limits) -> NDArray[np.uint8]:
        return images.decode(stored if isinstance(stored, bytes) else stored[0], limits)

    def decode_fields(self, stored: bytes | Stored, limits: Limits) -> dict[str, Array]:
        return {} if isinstance(stored, bytes) else _captions.encoded(stored, self.given)

    def _sentences(self, path: Path, place: tuple[int, ...]) -> list[str]:
        """What a sample's member of captions holds.

        Raises:
            Rejected: if it cannot be read, or holds no text.
        """
        _, _, key = cast(str, self.config.captions).partition(".")
        data = _members.read(path, place, self._caps, Limits(limits.RECORD_BYTES))
        try:
            return _samples.sentences(data, key)
        except (Damaged, UnicodeDecodeError) as error:
            raise Rejected("unreadable caption", str(error)) from None

    @property
    def _caps(self) -> _members.Caps:
        return _members.Caps(self.config.max_members, self.config.max_unpacked_bytes)

    @functools.cached_property
    def _urls(self) -> list[str]:
        """Every shard as the settings name it."""
        urls = self.given.urls
        return [url for each in ((urls,) if isinstance(urls, str) else urls) for url in _samples.expanded(each)]

    @functools.cached_property
    def _shards(self) -> list[str]:
        """Their places on this machine; those at addresses are fetched."""
        remote = [url for url in self._urls if fetched.is_address(url)]
        here = dict(zip(remote, fetched.each_local(remote, "ingest.source.urls"), strict=True))
        return [here.get(url, url) for url in self._urls]

    def _entry(self, sample: Sample, label: str | None, problem: Problem | None) -> Entry:
        key = f"{sample.shard}/{printable(sample.key)}"
        if sample.again:
            return Entry(f"{key} (sample {sample.again})", key, problem=("a second sample of this name", ""))
        if not sample.images:
            held = ", ".join(map(printable, list(sample.members)[:8]))
            return Entry(key, key, problem=("no image in the sample", f"it holds {held}"))
        if problem is not None:
            return Entry(key, key, problem=problem)
        place = sample.members[sample.images[0]].place
        if self._caption is None:
            return Entry(key, (sample.number, *place), label)
        member = sample.members.get(self._caption)
        return Entry(key, (sample.number, len(place), *place, *(() if member is None else member.place)), label)

    @property
    def _caption(self) -> str | None:
        """The ending of the member that holds the captions."""
        return None if self.config.captions is None else self.config.captions.partition(".")[0]

    # --- samples ------------------------------------------------------------------------------------

    @functools.cached_property
    def _listed(self) -> list[tuple[str, tuple[Member, ...]]]:
        """Each shard's name, which no other has, and its members."""
        stems = [printable(Path(path).name.partition(".")[0]) for path in self._shards]
        names = stems if len(set(stems)) == len(stems) else [f"{n:06d}-{stem}" for n, stem in enumerate(stems)]
        return [(name, _members.listed(Path(path), self._caps)) for name, path in zip(names, self._shards, strict=True)]

    @functools.cached_property
    def _samples(self) -> list[Sample]:
        wanted = None if self.config.image is None else tuple(self.config.image.lower().split(";"))
        return [
            sample
            for number, (shard, members) in enumerate(self._listed)
            for sample in _samples.grouped(number, shard, members, wanted)
        ]

    @functools.cached_property
    def _refused(self) -> list[tuple[str, Problem]]:
        """Members that cannot be used, whatever they are."""
        return [
            (f"{shard}/{printable(member.name)} (member {number})", member.problem)
            for shard, members in self._listed
            for number, member in enumerate(members)
            if member.problem is not None
        ]

    @property
    def _passed(self) -> Iterator[tuple[str, str]]:
        """Members that belong to no sample."""
        held = {id(member) for sample in self._samples for member in sample.members.values()}
        for shard, members in self._listed:
            for member in members:
                if member.problem is None and id(member) not in held:
                    yield f"{shard}/{printable(member.name)}", "in no sample"

    # --- labels -------------------------------------------------------------------------------------

    @functools.cached_property
    def _label(self) -> str | None:
        """The ending of the member that holds the label."""
        labels = self.config.labels
        if labels == "auto":
            return "cls" if any("cls" in sample.members for sample in self._samples) else None
        return None if labels == "none" else labels.partition(".")[0]

    @functools.cached_property
    def _names(self) -> tuple[str, ...]:
        """Class names by number, as the settings or a manifest of ours beside the shards say; empty: none."""
        if self.config.classes is not None:
            return self.config.classes
        folder = Path(self._urls[0]).parent
        if self._label != "cls" or not (folder / MANIFEST).is_file():
            return ()
        try:
            return Manifest.load(folder).spec.classes
        except BrokenArtefact:
            return ()  # of someone else

    @functools.cached_property
    def _labels(self) -> list[tuple[str | None, Problem | None]]:
        """Of every sample its class, or why it has none."""
        return [self._class(sample) for sample in self._samples]

    def _class(self, sample: Sample) -> tuple[str | None, Problem | None]:
        member = sample.members.get(cast(str, self._label))
        if member is None:
            return None, ("no label in the sample", "")
        _, _, key = self.config.labels.partition(".")
        try:
            most = limits.RECORD_BYTES if key else LABEL_BYTES
            data = _members.read(Path(self._shards[sample.number]), member.place, self._caps, Limits(most))
            value: Any = parse_json(data) if key else data.decode("utf-8").strip()
            if key:
                value = cast(dict[str, Any], value).get(key) if isinstance(value, dict) else None
        except (Rejected, Damaged, UnicodeDecodeError) as error:
            return None, ("unknown label", str(error))
        return _samples.class_of(value, self._names)


def _above(paths: list[str]) -> str:
    return os.path.commonpath([Path(path).parent for path in paths]) or "."
