"""The short-time Fourier transform of sound, its inverse, and sound from magnitudes alone (Griffin and Lim 1984)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1e-8
"""Spectra are not divided by smaller magnitudes."""
EDGE = 0.01
"""Sums of squared windows are not divided by less: the first and last samples, which one window hardly covers, fade."""


def stft(x: Tensor, window: int, hop: int) -> Tensor:
    """Sound (…, samples) → complex (…, window/2 + 1, frames): whole frames only, times a periodic Hann window."""
    frames = x.unfold(-1, window, hop) * _hann(window, x)
    return torch.fft.rfft(frames, dim=-1).transpose(-1, -2)


def istft(spectra: Tensor, hop: int) -> Tensor:
    """Complex (…, window/2 + 1, frames) → sound (…, (frames − 1)·hop + window), whose transform is nearest to them.

    Nearest in the sum of squares: Σ w·frame / Σ w² at each sample (Griffin and Lim 1984, equation 6).
    """
    *batch, frequencies, count = spectra.shape
    size = 2 * (frequencies - 1)
    frames = torch.fft.irfft(spectra.transpose(-1, -2), n=size, dim=-1)
    hann = _hann(size, frames)
    weights = hann.square().expand(1, count, size)
    sound, total = (_overlapped(each, hop) for each in ((frames * hann).reshape(-1, count, size), weights))
    return (sound / total.clamp(min=EDGE)).reshape(*batch, -1)


def griffin_lim(magnitudes: Tensor, hop: int, iterations: int) -> Tensor:
    """Magnitudes (…, window/2 + 1, frames) → sound (…, (frames − 1)·hop + window) of about these magnitudes.

    From phases of zero, each iteration takes the phases of the sound that comes nearest. No randomness.
    """
    spectra = magnitudes.to(torch.promote_types(magnitudes.dtype, torch.complex64))
    for _ in range(iterations):
        again = stft(istft(spectra, hop), 2 * (magnitudes.shape[-2] - 1), hop)
        spectra = magnitudes * (again / again.abs().clamp(min=LEAST))
    return istft(spectra, hop)


def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """(n, count, size) → (n, (count − 1)·hop + size): frames added where they overlap."""
    count, size = frames.shape[1:]
    length = (count - 1) * hop + size
    return F.fold(frames.transpose(1, 2), (1, length), (1, size), stride=(1, hop)).reshape(len(frames), length)


def _hann(window: int, like: Tensor) -> Tensor:
    return torch.hann_window(window, periodic=True, dtype=like.dtype, device=like.device)
