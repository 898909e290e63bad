"""One wav file: stored bytes → float32 samples in [-1, 1] → the channels and length that were asked for.

What is done with unusual files is decided here, once:

    8, 16, 24, 32 bits      whole numbers over 2^(bits − 1); 8 bits are centred at 128
    float, 32 and 64 bits   as they are, cut to [-1, 1]
    compressed              rejected (ADPCM, µ-law, MP3 in wav …)
    cut short               rejected: its header promises more than the file holds
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data.source import Rejected

Samples = NDArray[np.float32]
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
NAMES = {2: "ADPCM", 6: "A-law", 7: "µ-law", 17: "IMA ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}
SIZES = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}

Longer = Literal["start", "center", "reject"]
Shorter = Literal["end", "both", "reject"]


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


def header_of(data: bytes, size: int) -> Header:
    """What the first bytes of a file of `size` bytes say.

    Raises:
        Rejected: for what is no wav, or one that the table above rejects.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise Rejected("not a wav file")
    place, form = 12, b""
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        place += 8
        if name == b"fmt ":
            form = data[place : place + length]
        elif name == b"data":
            return _header(form, place, length, size)
        place += length + length % 2
    raise Rejected("damaged wav file", "it holds no sound")


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


def read_header(path: Path, first: int = 65_536) -> Header:
    """The header of a file, of which only the beginning is read.

    Raises:
        Rejected: as `header_of`, and if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            begin, size = file.read(first), path.stat().st_size
            try:
                return header_of(begin, size)
            except Rejected:
                if begin[:4] != b"RIFF" or size <= first:
                    raise
                return header_of(begin + file.read(), size)  # behind a long block of notes
    except OSError as error:
        raise Rejected("cannot be read", error.strerror or "") from None


def decode(data: bytes) -> tuple[Samples, int]:
    """Bytes of a wav file → samples (channels, n) in [-1, 1], and their rate.

    Raises:
        Rejected: as `header_of`, and for numbers that are none.
    """
    header = header_of(data, len(data))
    begin, _ = header.data
    count, width = header.samples * header.channels, header.bits // 8
    raw = np.frombuffer(data, dtype=np.uint8, count=count * width, offset=begin)
    if header.encoding == FLOAT:
        values = raw.view(f"<f{width}").astype(np.float64)
    elif header.bits == 8:
        values = (raw.astype(np.float64) - 128) / 128
    elif header.bits == 24:
        low, middle, high = raw.reshape(-1, 3).astype(np.int32).T
        values = ((low << 8 | middle << 16 | high << 24) >> 8) / 2.0**23
    else:
        values = raw.view(f"<i{width}") / 2.0 ** (header.bits - 1)
    if not np.isfinite(values).all():
        raise Rejected("damaged wav file", "it holds numbers that are not finite")
    return np.clip(values, -1, 1).astype(np.float32).reshape(-1, header.channels).T, header.rate


# --- fitting ----------------------------------------------------------------------------------


def with_channels(x: Samples, channels: int) -> Samples:
    """(c, n) → (channels, n): mono is the mean, and is repeated to make more of it.

    Raises:
        Rejected: for more channels made fewer, but not one.
    """
    if len(x) == channels:
        return x
    if channels == 1:
        return x.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    if len(x) == 1:
        return np.repeat(x, channels, axis=0)
    raise Rejected("other channels", f"{len(x)}, asked for are {channels}")


def with_length(x: Samples, length: int, longer: Longer, shorter: Shorter) -> Samples:
    """(c, n) → (c, length), cropped or padded with silence.

    Raises:
        Rejected: where `longer` or `shorter` say that such a file is to be set aside.
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


def to_peak(x: Samples) -> Samples:
    """The same sound with 1 as its largest absolute value; silence stays."""
    peak = float(np.abs(x).max(initial=0))
    return (x / np.float32(peak)).astype(np.float32) if peak > 0 else x
