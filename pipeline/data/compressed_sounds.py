"""One FLAC or Ogg file (Vorbis, Opus) → float32 samples, as libsndfile decodes it.

FLAC    exact: whole numbers over 2^(bits − 1), as in a wav file
Ogg     rounded to steps of 16 bits, since decoders on unlike CPUs differ in the last bits of a float
cut short, or without a length in its header: rejected
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline import limits
from pipeline.errors import Rejected

FLAC, OGG = b"fLaC", b"OggS"
DAMAGED = "damaged sound file"
STEPS = 2.0**15
LAST = 4  # a flag of an Ogg page: none follows
PAGE_HEAD = 27  # bytes of an Ogg page before the table of its segments


@dataclass(frozen=True, slots=True)
class Sound:
    """What a file's header says. rate: samples a second; samples: of each channel."""

    channels: int
    rate: int
    samples: int


def is_compressed(begins: bytes) -> bool:
    """Whether a file with these first bytes is for this module."""
    return begins[:4] in (FLAC, OGG)


def header_of(file: BinaryIO) -> Sound:
    """What an open file says of itself; nothing is decoded.

    Raises:
        Rejected: if libsndfile cannot read it, or it would be too large once decoded.
    """
    with _opened(file) as sound:
        return _header(sound)


def decode(data: bytes) -> tuple[NDArray[np.float32], int]:
    """Bytes of a file → samples (channels, n), perhaps a little beyond ±1, and their rate.

    Raises:
        Rejected: as `header_of`, and if it is cut short or cannot be decoded.
    """
    import soundfile

    if data[:4] == OGG and not _ends(data):
        raise Rejected(DAMAGED, "cut short: its last page is missing")
    with _opened(io.BytesIO(data)) as sound:
        header = _header(sound)
        try:
            x: NDArray[np.float32] = sound.read(dtype="float32", always_2d=True).T
        except soundfile.SoundFileError as error:
            raise Rejected(DAMAGED, str(error)) from None
    if x.shape[1] != header.samples:
        raise Rejected(DAMAGED, f"cut short: {x.shape[1]} of {header.samples} samples can be decoded")
    if not np.isfinite(x).all():
        raise Rejected(DAMAGED, "it holds numbers that are not finite")
    return ((np.rint(x * STEPS) / STEPS).astype(np.float32) if data[:4] == OGG else x), header.rate


def _opened(file: BinaryIO) -> Any:
    import soundfile

    try:
        return soundfile.SoundFile(file)
    except soundfile.SoundFileError as error:
        reason = str(error).rpartition(": ")[2].strip()
        raise Rejected(DAMAGED, reason) from None


def _header(sound: Any) -> Sound:
    channels, samples = int(sound.channels), int(sound.frames)
    # libsndfile has the largest number of 64 bits for a FLAC file whose writer could not say.
    if samples >= 2**62:
        raise Rejected(DAMAGED, "its header does not say how long it is; save it again with its length")
    if samples * channels > limits.SOUND_VALUES:
        raise Rejected(
            "too long", f"{samples} samples of {channels} channels; at most {limits.SOUND_VALUES:,} values are decoded"
        )
    if samples < 1:
        raise Rejected("empty sound file", "it holds no sample")
    return Sound(channels, int(sound.samplerate), samples)


def _ends(data: bytes) -> bool:
    """Whether an Ogg file's last page is whole and says that it is the last."""
    page = data.rfind(OGG)
    head = data[page : page + PAGE_HEAD]
    if len(head) < PAGE_HEAD:
        return False
    segments = data[page + PAGE_HEAD : page + PAGE_HEAD + head[-1]]
    whole = len(segments) == head[-1] and page + PAGE_HEAD + len(segments) + sum(segments) <= len(data)
    return whole and bool(head[5] & LAST)
