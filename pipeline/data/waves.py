"""One sound file: stored bytes → float32 samples in [-1, 1] → the channels and length that were asked for.

FLAC and Ogg are decoded by libsndfile (`compressed_sounds.py`). Of wav files, what is done with unusual ones is decided
here, once:

    8, 16, 24, 32 bits      whole numbers over 2^(bits − 1); 8 bits are centred at 128
    float, 32 and 64 bits   as they are; beyond ±1, as `beyond` says, rejected, divided by the file's peak, or cut
    RF64, BW64              read: RIFF with sizes of 64 bits
    written by a pipe       a size that could not be filled in means up to the end of the file
    RIFX, Wave64            rejected
    compressed              rejected (ADPCM, µ-law, MP3 in wav …)
    cut short               rejected: its header promises more than the file holds
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import limits
from pipeline.data import compressed_sounds, notes, regular
from pipeline.data.compressed_sounds import Sound
from pipeline.errors import Rejected

Samples = NDArray[np.float32]
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
NAMES = {2: "ADPCM", 6: "A-law", 7: "µ-law", 17: "IMA ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}
SIZES = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}
LONG = (b"RF64", b"BW64")
OTHERS = {b"ID3\3": "MP3", b"ID3\4": "MP3", b"FORM": "AIFF", b"caff": "CAF"}
UNKNOWN = 0xFFFF_FFFF  # a size of 32 bits that says: see ds64, or nobody knew
NEAR = 2**16  # how far from 2^31 or 2^32 the sizes are that pipes write

PIECE = 2**22  # samples that are converted at once
ROUNDING = 2.0**-15  # one step of 16 bits: so much beyond ±1 is no loudness, and so little is no sound
FAINT, PARTLY = 0.01, 0.1  # shares of the channels' energy that are left when they are mixed

Longer = Literal["start", "center", "reject"]
Shorter = Literal["end", "both", "reject"]
Beyond = Literal["reject", "normalise", "cut"]
Mix = Literal["mean", "first"]


@dataclass(frozen=True, slots=True)
class Header:
    """encoding: 1 whole numbers, 3 floats. rate: samples a second. data: where they begin, and how many bytes."""

    encoding: int
    channels: int
    rate: int
    bits: int
    data: tuple[int, int]

    @property
    def samples(self) -> int:
        """Of each channel."""
        return self.data[1] // (self.channels * self.bits // 8)

    @property
    def sound(self) -> Sound:
        """What it says of the sound alone."""
        return Sound(self.channels, self.rate, self.samples)


def header_of(data: bytes, size: int) -> Header:
    """What the first bytes of a file of `size` bytes say.

    Raises:
        Rejected: for what is no wav, or one that the table above rejects.
    """
    return _header_of(lambda place, count: data[place : place + count], size)


def _header_of(read: Callable[[int, int], bytes], size: int) -> Header:
    """read: gives `count` bytes from `place` on, fewer at the end of the file."""
    start = read(0, 12)
    kind = start[:4]
    if kind == b"RIFX":
        raise Rejected("big-endian wav file", "RIFX; save it as RIFF, the usual wav")
    if kind == b"riff":
        raise Rejected("Wave64 file", "save it as RIFF, the usual wav, or as RF64")
    if len(start) < 12 or kind not in (b"RIFF", *LONG) or start[8:] != b"WAVE":
        raise Rejected("not a wav file", f"{OTHERS[kind]}; save it as PCM in wav" if kind in OTHERS else "")
    (whole,) = struct.unpack_from("<I", start, 4)
    place, form, ds64 = 12, b"", b""
    for _ in range(limits.WAV_CHUNKS):
        head = read(place, 8)
        if len(head) < 8:
            break
        name, length = struct.unpack("<4sI", head)
        place += 8
        if name == b"fmt ":
            form = read(place, min(length, 64))
        elif name == b"ds64" and kind in LONG:
            ds64 = read(place, min(length, 16))
        elif name == b"data":
            if len(ds64) == 16 and length == UNKNOWN:
                whole, length = struct.unpack("<QQ", ds64)
            return _header(form, place, _told(length, whole, place, size), size)
        place += length + length % 2
    raise Rejected("damaged wav file", "it holds no sound")


def _told(length: int, whole: int, place: int, size: int) -> int:
    """Bytes of sound, from `place` on: `length` as the header tells, or all there is where its writer could not know.

    ffmpeg, sox, arecord and others write the header first, with sizes of 0 or near 2^31, 2^32 (2^64 in ds64). They go
    back to fill them in, which a pipe does not allow; nor does a crash. Then the size of the `whole` file is of the
    same kind, or says that the file ends before its sound.
    """
    ends_before = whole + 8 <= place
    unfilled = ends_before or whole == length + place - 8 or _beyond_all(whole)
    if unfilled and (length == 0 or (_beyond_all(length) and place + length > size)):
        return max(0, size - place)
    return length


def _beyond_all(length: int) -> bool:
    """Whether it is a size that is written where the true one is not known."""
    return abs(length - 2**31) <= NEAR or 2**32 - NEAR <= length < 2**32 or length >= 2**63 - NEAR


def _header(form: bytes, begin: int, length: int, size: int) -> Header:
    if len(form) < 16:
        raise Rejected("damaged wav file", "its format is missing")
    encoding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if encoding == EXTENSIBLE and len(form) >= 26:
        (encoding,) = struct.unpack_from("<H", form, 24)
    if encoding not in SIZES:
        raise Rejected("compressed wav file", f"{NAMES.get(encoding, f'encoding {encoding}')}; save it as PCM")
    if bits not in SIZES[encoding] or channels < 1 or rate < 1:
        raise Rejected("damaged wav file", f"{bits} bits, {channels} channels, {rate} samples a second")
    if begin + length > size:
        raise Rejected("damaged wav file", f"cut short: {size - begin} of {length} bytes of sound are there")
    if length < channels * bits // 8:
        raise Rejected("empty wav file", "it holds no sample")
    return Header(encoding, channels, rate, bits, (begin, length))


def read_header(path: Path) -> Sound:
    """What a file's header says; of a wav file only the beginnings of its chunks are read.

    Raises:
        Rejected: as `header_of`, and if the file cannot be read.
    """
    try:
        with regular.opened(path) as file:
            if compressed_sounds.is_compressed(file.read(4)):
                file.seek(0)
                return compressed_sounds.header_of(file)

            def read(place: int, count: int) -> bytes:
                file.seek(place)
                return file.read(count)

            return _header_of(read, os.fstat(file.fileno()).st_size).sound
    except OSError as error:
        raise Rejected("cannot be read", error.strerror or "") from None


def decode(data: bytes, beyond: Beyond = "reject") -> tuple[Samples, int]:
    """Bytes of a sound file → samples (channels, n) in [-1, 1], and their rate.

    beyond: what is done with floats beyond ±1 by more than rounding: reject the file, divide it by its peak, or cut
        them; the last two leave a note.

    Raises:
        Rejected: as `header_of`, for NaN or infinite values, and as `beyond` says.
    """
    if compressed_sounds.is_compressed(data):
        x, rate = compressed_sounds.decode(data)
        divisor = _divisor([x.astype(np.float64)], beyond)
        return (np.clip(x, -1, 1) if divisor is None else (x / divisor).astype(np.float32)), rate
    header = header_of(data, len(data))
    begin, _ = header.data
    count, width = header.samples * header.channels, header.bits // 8
    raw = np.frombuffer(data, dtype=np.uint8, count=count * width, offset=begin)
    divisor = _divisor((values for _, values in _pieces(raw, header)), beyond) if header.encoding == FLOAT else None
    samples = np.empty(count, dtype=np.float32)
    for first, values in _pieces(raw, header):
        within = np.clip(values, -1, 1) if divisor is None else values / divisor
        samples[first : first + len(values)] = within.astype(np.float32)
    return samples.reshape(-1, header.channels).T, header.rate


def _pieces(raw: NDArray[np.uint8], header: Header) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The samples of all channels, a piece after the other: the place of its first, and their values as float64.

    As a whole they would take eight times the bytes of the file, and more on the way.
    """
    width = header.bits // 8
    for first in range(0, len(raw) // width, PIECE):
        piece = raw[first * width : (first + PIECE) * width]
        if header.encoding == FLOAT:
            yield first, piece.view(f"<f{width}").astype(np.float64)
        elif header.bits == 8:
            yield first, (piece.astype(np.float64) - 128) / 128
        elif header.bits == 24:
            low, middle, high = piece.reshape(-1, 3).astype(np.int32).T
            yield first, ((low << 8 | middle << 16 | high << 24) >> 8) / 2.0**23
        else:
            yield first, piece.view(f"<i{width}") / 2.0 ** (header.bits - 1)


def _divisor(pieces: Iterable[NDArray[np.float64]], beyond: Beyond) -> float | None:
    """What floats are divided by to be in [-1, 1]; None where they are, or are to be cut."""
    peak, over, count = 0.0, 0, 0
    for values in pieces:
        if not np.isfinite(values).all():
            raise Rejected("damaged wav file", "it holds numbers that are not finite")
        sizes = np.abs(values)
        peak, over, count = max(peak, float(sizes.max())), over + int((sizes > 1).sum()), count + values.size
    if peak <= 1 + ROUNDING:
        return None
    what = f"peak {peak:.6g}, {100 * over / count:.3g} % of samples beyond ±1"
    if beyond == "reject":
        raise Rejected("louder than full scale", f"{what}; set ingest.source.beyond: normalise or cut")
    notes.leave(notes.NORMALISED if beyond == "normalise" else notes.CUT, what, peak, over)
    return peak if beyond == "normalise" else None


# --- fitting ----------------------------------------------------------------------------------


def with_channels(x: Samples, channels: int, mix: Mix = "mean") -> Samples:
    """(c, n) → (channels, n): mono is the mean, or the first of them, as `mix` says, and is repeated to make more.

    Leaves a note where a mean keeps less than a tenth of the channels' energy.

    Raises:
        Rejected: for more channels made fewer, but not one; and where a mean keeps next to nothing, as opposite
            channels cancel.
    """
    if len(x) == channels:
        return x
    if channels == 1 and mix == "first":
        return x[:1]
    if channels == 1:
        mean = x.mean(axis=0, keepdims=True, dtype=np.float64)
        _check_mixed(x, mean)
        return mean.astype(np.float32)
    if len(x) == 1:
        return np.repeat(x, channels, axis=0)
    raise Rejected("other channels", f"{len(x)}, asked for are {channels}")


def _check_mixed(x: Samples, mean: NDArray[np.float64]) -> None:
    energy = _energy(x)
    if energy <= ROUNDING**2:
        return
    left = _energy(mean) / energy
    what = f"{100 * left:.2g} % of the energy of {len(x)} channels is left in their mean"
    if left < FAINT:
        keep = f", or ingest.source.channels: {len(x)}" if len(x) <= 8 else ""
        raise Rejected("channels cancel", f"{what}; set ingest.source.mix: first{keep}")
    if left < PARTLY:
        notes.leave(notes.CANCELLING, what, 1 - left)


def _energy(x: NDArray[np.floating[Any]]) -> float:
    """The mean square, in pieces where they are many: their squares would take more memory than the sound."""
    if x.size <= PIECE:
        return float(np.square(x, dtype=np.float64).mean())
    width = max(1, PIECE // len(x))
    sums = [np.square(x[:, first : first + width], dtype=np.float64).sum() for first in range(0, x.shape[1], width)]
    return float(np.sum(sums)) / x.size


def with_length(x: Samples, length: int, longer: Longer, shorter: Shorter) -> Samples:
    """(c, n) → (c, length), cropped or padded with silence.

    Raises:
        Rejected: where `longer` or `shorter` say that such a file is to be rejected.
    """
    excess = x.shape[1] - length
    if excess > 0:
        if longer == "reject":
            raise Rejected("too long", f"{x.shape[1]} samples, asked for are {length}")
        begin = 0 if longer == "start" else excess // 2
        return x[:, begin : begin + length]
    if excess < 0:
        if shorter == "reject":
            raise Rejected("too short", f"{x.shape[1]} samples, asked for are {length}")
        before = 0 if shorter == "end" else -excess // 2
        return np.pad(x, ((0, 0), (before, -excess - before)))
    return x


def silent(x: Samples) -> bool:
    """Whether nothing moves in any channel of (c, n) by more than one step of 16 bits either way."""
    return bool((x.max(axis=1) - x.min(axis=1)).max() <= 2 * ROUNDING)


def to_peak(x: Samples) -> Samples:
    """The same sound with 1 as its largest absolute value; silence stays."""
    peak = float(np.abs(x).max(initial=0))
    return (x / np.float32(peak)).astype(np.float32) if peak > 0 else x
