"""A folder of sounds (wav, FLAC, Ogg); classes are its sub-folders, or stand in the files' names."""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline.data import notes, waves
from pipeline.data.compressed_sounds import Sound
from pipeline.data.kinds import OTHER_SOUNDS, SOUNDS
from pipeline.data.listing import Listing
from pipeline.data.source import DataSource, Entry, Limits, Problem, printable
from pipeline.data.sources import _shared
from pipeline.errors import Rejected, SettingsError
from pipeline.natural import natural
from pipeline.settings import DataPath, Settings
from pipeline.types import Modality


class Config(Settings):
    """Where the sounds are, where their classes come from, and how each comes to one length."""

    folder: DataPath = Field(description="searched with its sub-folders")
    labels: str = Field(
        default="folders",
        description="folders: the first sub-folder names the class (without sub-folders: unlabelled); none: "
        "unlabelled; else a pattern whose group `label` finds it in the file's name, such as (?P<label>\\d)_.*",
    )
    sample_rate: int | None = Field(
        default=None, ge=1, description="others are rejected; null: all files must have one, whichever it is"
    )
    channels: int = Field(default=1, ge=1, le=8, description="1: mono, made as `mix` says")
    mix: waves.Mix = Field(default="mean", description="mono of several channels: their mean, or the first (left)")
    beyond: waves.Beyond = Field(
        default="reject",
        description="a file of floats beyond ±1: reject sets it aside, normalise divides it by its peak, cut cuts them",
    )
    length: int | None = Field(default=None, ge=1, description="samples; null: all files must have one length")
    longer: waves.Longer = Field(default="start", description="what is kept of a longer file; reject: set it aside")
    shorter: waves.Shorter = Field(default="end", description="where a shorter file is padded with silence")
    level: Literal["as_is", "peak"] = Field(
        default="as_is",
        description="peak: each file's loudest sample becomes 1; what `beyond` would reject is then divided as well",
    )
    links: _shared.LinksSetting = Field(default="auto", description=_shared.LINKS)

    @field_validator("labels")
    @classmethod
    def _pattern(cls, value: str) -> str:
        if value in ("folders", "none"):
            return value
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"'{value}' is neither folders nor none, and no pattern: {error}") from None
        if "label" not in groups:
            raise ValueError(f"'{value}' is neither folders nor none, and a pattern needs a group (?P<label>…)")
        return value


class Source(DataSource[Config]):
    """Every sound file below the folder, in the order of the paths; float32 (channels, length) in [-1, 1]."""

    paths = ("folder",)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        import wave

        for label in ("no", "yes"):
            (folder / label).mkdir()
            with wave.open(str(folder / label / "a.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8_000)
                file.writeframes(bytes(40))
        (folder / "no" / "broken.wav").write_bytes(b"RIFF")
        return {"folder": str(folder), "length": 16}

    @property
    def modality(self) -> Modality:
        return "waveform"

    def check(self, where: str = "ingest.source") -> None:
        config = self.config
        _shared.require_folder(config.folder, f"{where}.folder")
        _shared.require_links(config.links, where)
        _shared.require_items(self._listing, config.folder, f"{where}.folder")
        if config.labels == "folders" or len(self._listing.unfollowed) == len(self._listing.items):
            _shared.require_followed(self._listing, where)
        _shared.refuse_splits(self._listing, config.folder, where)
        rates = Counter(header.rate for header in self._headers.values() if isinstance(header, Sound))
        if not rates:
            first, problem = self._listing.items[0]
            known = self._headers.get(first, problem)
            why = known if isinstance(known, tuple) else ("", "")
            raise SettingsError(
                f"{where}.folder: '{self.config.folder}' holds no sound that can be read; the first, "
                f"{printable(first)}, is: {': '.join(filter(None, why))}"
            )
        if config.labels not in ("folders", "none") and not self.classes():
            first = PurePosixPath(min(name for name, _ in self._listing.items)).stem
            raise SettingsError(
                f"{where}.labels: '{config.labels}' finds a label in no name; it has to match the whole of a name "
                f"without its folders and its ending, such as '{printable(first)}'"
            )
        if self.config.sample_rate is None and len(rates) > 1:
            found = ", ".join(f"{rate} ({count})" for rate, count in rates.most_common(4))
            raise SettingsError(
                f"{where}.sample_rate: the files differ: {found} samples a second; say which one is to be used (others "
                "are rejected, and count against ingest.max_rejected_fraction), or resample them first"
            )
        if self.config.sample_rate is not None and self.config.sample_rate not in rates:
            found = ", ".join(str(rate) for rate, _ in rates.most_common(4))
            raise SettingsError(f"{where}.sample_rate: no file has {self.config.sample_rate}; they have {found}")

    def native_shape(self) -> tuple[int, int] | None:
        return None if self.config.length is None else (self.config.channels, self.config.length)

    def rate(self) -> int | None:
        if self.config.sample_rate is not None:
            return self.config.sample_rate
        return next((found.rate for found in self._headers.values() if isinstance(found, Sound)), None)

    def classes(self) -> tuple[str, ...]:
        if self.config.labels == "folders":
            return tuple(sorted(map(printable, self._listing.folders), key=natural))
        return tuple(sorted({found for name, _ in self._listing.items if (found := self._label(name))}, key=natural))

    def entries(self) -> list[Entry]:
        labelled = bool(self.classes())
        return [self._entry(name, problem, labelled) for name, problem in self._listing.items]

    def linked(self) -> tuple[Path, ...]:
        return _shared.linked([self._listing])

    def passed_over(self) -> tuple[tuple[str, str], ...]:
        return self._listing.named()

    def _entry(self, name: str, problem: Problem | None, labelled: bool) -> Entry:
        key, header = printable(name), self._headers.get(name)
        if problem is None and isinstance(header, tuple):
            problem = header
        if problem is None and isinstance(header, Sound) and header.rate != self.rate():
            problem = ("another sample rate", f"{header.rate}, asked for are {self.rate()}")
        if problem is None and isinstance(header, Sound):
            problem = self._unfit(header)
        if problem is not None or not labelled:
            return Entry(key, name, problem=problem)
        label = self._label(name)
        if not label:
            what = "outside every class folder" if self.config.labels == "folders" else "no label in the name"
            return Entry(key, name, problem=(what, "labels: none takes all as unlabelled"))
        return Entry(key, name, label)

    def _unfit(self, header: Sound) -> Problem | None:
        """Why a file of this header would be rejected once it is decoded."""
        config, samples = self.config, header.samples
        if header.channels not in (1, config.channels) and config.channels != 1:
            return "other channels", f"{header.channels}, asked for are {config.channels}"
        if config.length is not None and samples > config.length and config.longer == "reject":
            return "too long", f"{samples} samples, asked for are {config.length}"
        if config.length is not None and samples < config.length and config.shorter == "reject":
            return "too short", f"{samples} samples, asked for are {config.length}"
        return None

    def _label(self, name: str) -> str:
        """The class of a file; empty where it has none."""
        if self.config.labels == "none":
            return ""
        if self.config.labels == "folders":
            return printable(name.partition("/")[0]) if "/" in name else ""
        found = re.fullmatch(self.config.labels, PurePosixPath(name).stem)
        return printable(found["label"] or "") if found else ""

    def fetch(self, entry: Entry, limits: Limits) -> bytes:
        return _shared.file_bytes(Path(self.config.folder) / cast(str, entry.where), limits)

    def decode(self, stored: bytes, limits: Limits) -> NDArray[np.float32]:
        beyond = self.config.beyond
        if self.config.level == "peak" and beyond == "reject":
            beyond = "normalise"  # every file is divided by its peak then
        whole, _ = waves.decode(stored, beyond)
        x = whole = waves.with_channels(whole, self.config.channels, self.config.mix)
        if self.config.length is not None:
            x = waves.with_length(whole, self.config.length, self.config.longer, self.config.shorter)
        if waves.silent(whole):
            notes.leave(notes.SILENT, "nothing moves in it")
        elif waves.silent(x):
            notes.leave(notes.SILENT, f"in the {x.shape[1]} of its {whole.shape[1]} samples that are kept")
        return np.ascontiguousarray(waves.to_peak(x) if self.config.level == "peak" else x)

    @functools.cached_property
    def _listing(self) -> Listing:
        return _shared.listed(self.config.folder, SOUNDS, self.config.links)

    @functools.cached_property
    def _headers(self) -> dict[str, Sound | Problem]:
        """Of every file its header, or why it has none."""
        found: dict[str, Sound | Problem] = {}
        for name, problem in self._listing.items:
            if problem is None:
                try:
                    found[name] = waves.read_header(Path(self.config.folder) / name)
                except Rejected as error:
                    ending = PurePosixPath(name).suffix.lower()
                    other = f"{ending} is not read; save it as wav or flac" if ending in OTHER_SOUNDS else ""
                    found[name] = (error.reason, error.detail or other)
        return found
