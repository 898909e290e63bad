"""The spectrogram of a sound: logarithms of the magnitudes of its short-time Fourier transform."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.data.transform import Transform as Base
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec


class Config(Settings):
    """The defaults are SpecGAN's (Donahue et al. 2019): 16,384 samples become 128 frequencies × 128 frames."""

    window: int = Field(default=256, ge=2, le=65_536, multiple_of=2, description="samples of a frame (periodic Hann)")
    hop: int = Field(default=128, ge=1, description="samples from one frame to the next")
    padding: Literal["end", "centre", "none"] = Field(
        default="end",
        description="end: zeros, so that every hop begins a frame; centre: mirrored by half a window on both sides; "
        "none: whole frames only",
    )
    nyquist: bool = Field(default=False, description="keep the highest frequency; without it, window / 2 are kept")
    floor: float = Field(default=1e-6, gt=0, description="added to magnitudes before the logarithm")

    @model_validator(mode="after")
    def _overlapping(self) -> Config:
        if self.hop > self.window:
            raise ValueError(f"hop: {self.hop} leaves samples out; it must be at most window, {self.window}")
        return self


class Transform(Base[Config]):
    """log(|STFT| + floor), natural, without normalisation, in float64: waveforms (C, T) → float32 (C, F, frames).

    Low frequencies come first. `spec.summary` has a mean and a spread for each frequency.
    """

    def field(self, of: FieldSpec) -> FieldSpec:
        config = self.config
        if of.kind != "waveform":
            raise ValueError(f"takes a waveform, and '{of.name}' is of the kind {of.kind}")
        channels, samples = of.shape
        least = {"end": 1, "centre": config.window // 2 + 1, "none": config.window}[config.padding]
        if samples < least:
            raise ValueError(f"window: {config.window} needs {least} samples, and '{of.name}' has {samples}")
        frames = (samples + sum(self._margins(samples)) - config.window) // config.hop + 1
        frequencies = config.window // 2 + config.nyquist
        shape = (channels, frequencies, frames)
        return replace(of, kind="spectrogram", shape=shape, dtype="float32", flips=False)

    def __call__(self, values: Array, numbers: NDArray[np.int64]) -> Array:
        config = self.config
        margins = ((0, 0), (0, 0), self._margins(values.shape[-1]))
        x = np.pad(values.astype(np.float64), margins, mode="reflect" if config.padding == "centre" else "constant")
        frames = np.lib.stride_tricks.sliding_window_view(x, config.window, axis=-1)[..., :: config.hop, :]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window) / config.window)
        magnitude = np.abs(np.fft.rfft(frames * hann, axis=-1))[..., : config.window // 2 + config.nyquist]
        return np.ascontiguousarray(np.log(magnitude + config.floor).swapaxes(-1, -2), dtype=np.float32)

    def _margins(self, samples: int) -> tuple[int, int]:
        """Samples that are put before and after."""
        config = self.config
        if config.padding == "centre":
            return config.window // 2, config.window // 2
        if config.padding == "none":
            return 0, 0
        frames = -(-samples // config.hop)
        return 0, max(0, (frames - 1) * config.hop + config.window - samples)
