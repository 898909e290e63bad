"""Samples of every modality as something to look at and to listen to: images, moving ones, wav bytes, files."""

from __future__ import annotations

import io
import math
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data import label_maps
from pipeline.sampling import volumes
from pipeline.types import DataSpec, FieldSpec, Modality

FRAME = 256
FLOOR = 60.0  # decibels below the loudest that still show
LONGEST = 128  # columns of a spectrogram
RATE = 16_000  # where the data does not say
PAUSE = 100  # milliseconds a frame is shown
MOVING: frozenset[Modality] = frozenset({"voxels", "video"})  # what a still picture does not show

Images = NDArray[np.uint8]


def as_images(x: NDArray[Any], spec: DataSpec) -> Images:
    """Examples (…, *spec.shape) as uint8 images (…, C, H, W): themselves, or what shows them.

    Waveforms as spectrograms, volumes as three views side by side, videos as their middle frame, rows as strips of
    grey; float32 is taken to lie in [-1, 1].
    """
    outer = x.shape[: x.ndim - len(spec.shape)]
    flat = x.reshape(-1, *spec.shape)
    if spec.modality == "waveform":
        found = np.stack([spectrogram(each) for each in flat]) if len(flat) else np.zeros((0, 1, 1, 1), np.uint8)
    elif spec.modality == "voxels":
        flat = occupancy(flat)
        shown = (1, *volumes.views(np.zeros(spec.resolution)).shape[1:])
        found = np.stack([volumes.views(each) for each in flat]) if len(flat) else np.zeros((0, *shown), np.uint8)
    elif spec.modality == "video":
        found = grey(flat[:, :, spec.shape[1] // 2])
    elif spec.modality == "rows":
        found = grey(flat[:, None, None, :].repeat(max(1, spec.size // 4), axis=2))
    else:
        found = grey(flat)
    return found.reshape(*outer, *found.shape[1:])


def field_images(x: NDArray[Any], field: FieldSpec) -> Images | None:
    """Stored values of a field (n, …) as images (n, C, H, W); None for what no picture shows: texts, labels, vectors.

    A mask of several channels is planes of classes, each in a colour of its own. A spectrogram's channels are laid over
    each other, low notes below, from its least value (black) to its largest.
    """
    if field.kind in ("tensor", "label", "text"):
        return None
    if field.kind == "mask":
        if x.ndim != 4:
            return None
        return x if x.shape[1] == 1 else label_maps.coloured(x)
    if field.kind == "spectrogram":
        level = x.astype(np.float64).mean(axis=1, keepdims=True)[:, :, ::-1]
        least, most = (end(level, axis=(2, 3), keepdims=True) for end in (np.min, np.max))
        return np.rint(255 * (level - least) / np.maximum(most - least, 1e-12)).astype(np.uint8)
    return as_images(x, DataSpec(field.kind, x.shape[1:], (), "uint8" if x.dtype == np.uint8 else "float32"))


def occupancy(x: NDArray[Any]) -> NDArray[np.float64]:
    """Voxels (…, C, D, H, W) as stored → how full each cell is, (…, D, H, W) in [0, 1]: the largest of its channels."""
    level = x.max(axis=-4).astype(np.float64)
    return level / 255 if x.dtype == np.uint8 else np.clip((level + 1) / 2, 0, 1)


def frames(x: NDArray[Any], modality: Modality) -> list[NDArray[np.uint8]]:
    """One example (C, …) as the pictures (H, W) or (H, W, C) that show it moving: a volume turns, a video runs."""
    if modality == "voxels":
        return volumes.turning(occupancy(x) > volumes.FULL)
    pixels = grey(x).transpose(1, 2, 3, 0)
    return [each[:, :, 0] if each.shape[2] == 1 else each for each in pixels]


def animation(x: NDArray[Any], modality: Modality) -> bytes:
    """One example (C, …) as an animated PNG, which every browser shows; equal examples give equal bytes."""
    return _animated(frames(x, modality), "PNG", default_image=False)


def _animated(pictures: list[NDArray[np.uint8]], form: str, **options: Any) -> bytes:
    from PIL import Image

    first, *rest = (Image.fromarray(np.ascontiguousarray(each)) for each in pictures)
    buffer = io.BytesIO()
    first.save(buffer, form, save_all=True, append_images=rest, duration=PAUSE, loop=0, **options)
    return buffer.getvalue()


def as_files(x: NDArray[Any], modality: Modality, rate: int | None = None) -> dict[str, bytes]:
    """One example (C, …) as the files that other programs open, by ending: what no single picture holds.

    Sound as .wav, voxels as .npz (float32 `occupancy` in [0, 1]) and .obj (the surface), video as .webp, lossless.
    """
    if modality == "waveform":
        return {".wav": wav(x, rate)}
    if modality == "voxels":
        level = occupancy(x)
        return {".npz": volumes.npz(level), ".obj": volumes.obj(level > volumes.FULL)}
    if modality == "video":
        shown = [each if each.ndim == 3 else each[:, :, None].repeat(3, axis=2) for each in frames(x, modality)]
        return {".webp": _animated(shown, "WEBP", lossless=True, exact=True)}
    raise ValueError(f"no file holds {modality}")


def grey(x: NDArray[Any]) -> Images:
    """[-1, 1] floats → uint8; uint8 as it is."""
    if x.dtype == np.uint8:
        return x
    return np.clip(np.rint((x.astype(np.float64) + 1) * 127.5), 0, 255).astype(np.uint8)


def spectrogram(x: NDArray[Any]) -> Images:
    """Sound (C, T) → uint8 (1, frequencies, columns): decibels, low notes below, the channels' mean.

    Hann windows of at most 256 samples; the loudest is white, and 60 dB below it black.
    """
    mono = x.astype(np.float64).mean(axis=0)
    frame = min(FRAME, 1 << max(3, len(mono).bit_length() - 3))
    hop = max(frame // 2, math.ceil(len(mono) / LONGEST))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mono, (0, frame)), frame)[: len(mono) : hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(frame), axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    top = max(float(decibels.max()), -40.0)  # silence stays dark
    level = np.clip((decibels - top + FLOOR) / FLOOR, 0, 1)
    return np.rint(level.T[::-1] * 255).astype(np.uint8)[None]


def wav(x: NDArray[Any], rate: int | None) -> bytes:
    """Sound (C, T) in [-1, 1] → the bytes of a wav file of 16 bits."""
    buffer = io.BytesIO()
    values = np.rint(np.clip(x.astype(np.float64), -1, 1) * 32_767).astype("<i2")
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(x))
        file.setsampwidth(2)
        file.setframerate(rate or RATE)
        file.writeframes(np.ascontiguousarray(values.T).tobytes())
    return buffer.getvalue()
