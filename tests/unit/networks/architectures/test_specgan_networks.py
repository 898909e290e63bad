"""SpecGAN's networks, and sound from spectrograms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.data.transforms import spectrogram
from pipeline.networks.architectures.specgan import Analysis, Scale, SpecCritic, SpecGenerator, SpecPlan
from pipeline.networks.layers.stft import griffin_lim, istft, stft

PLAN = SpecPlan((2, 4), 2, 1, 3)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def unit(bins: int = 16) -> Scale:
    return Scale([0.0] * bins, [1.0] * bins, (1, bins), 3.0)


def tone(length: int, pitch: float = 0.3) -> Tensor:
    return 0.5 * torch.sin(torch.arange(length, dtype=torch.float64) * pitch)[None, None]


@pytest.mark.parametrize("hop", [64, 128])
def test_the_inverse_gives_the_sound_back(hop: int) -> None:
    x = torch.randn(2, 3, 2048, dtype=torch.float64)
    again = istft(stft(x, 256, hop), hop)
    assert again.shape == x.shape
    inside = slice(hop, -hop)
    torch.testing.assert_close(again[..., inside], x[..., inside])


def test_the_transform_is_that_of_numpy() -> None:
    x = torch.randn(1, 300, dtype=torch.float64)
    found = stft(x, 100, 50)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(100) / 100)
    for frame in range(5):
        expected = np.fft.rfft(x[0, 50 * frame : 50 * frame + 100].numpy() * hann)
        np.testing.assert_allclose(found[0, :, frame].numpy(), expected, atol=1e-12)


def test_the_nearest_sound_is_a_least_squares_solution() -> None:
    """Against the normal equations of all overlapping frames (Griffin and Lim 1984, equation 6)."""
    spectra = torch.randn(9, 4, dtype=torch.complex128)
    spectra[0] = spectra[0].real + 0j
    spectra[-1] = spectra[-1].real + 0j
    hann = torch.hann_window(16, dtype=torch.float64)
    rows, wanted = [], []
    for frame in range(4):
        for place in range(16):
            row = torch.zeros(40, dtype=torch.float64)
            row[8 * frame + place] = hann[place]
            rows.append(row)
        wanted.append(torch.fft.irfft(spectra[:, frame], n=16))
    solved = torch.linalg.lstsq(torch.stack(rows), torch.cat(wanted)[:, None], driver="gelsd").solution[:, 0]
    torch.testing.assert_close(istft(spectra, 8)[4:-4], solved[4:-4])


def test_each_iteration_comes_nearer_to_the_magnitudes() -> None:
    wanted = stft(tone(4096) + 0.2 * tone(4096, 0.7), 256, 128).abs()
    apart = [
        float((stft(griffin_lim(wanted, 128, count), 256, 128).abs() - wanted).norm() / wanted.norm())
        for count in (0, 1, 4, 16)
    ]
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.2


@pytest.mark.parametrize("padding", ["end", "centre", "none"])
def test_a_spectrogram_becomes_sound_of_its_length(padding: str) -> None:
    """Scaled as the networks see it, and back: its magnitudes are those of the sound that it was made of."""
    made = spectrogram.Transform(spectrogram.Config.model_validate({"padding": padding, "nyquist": True}))
    x = tone(4096)
    logs = torch.from_numpy(made(x.numpy(), np.zeros(1, int)))
    frequencies, frames = logs.shape[-2:]
    scale = Scale(logs.mean((0, 3)).flatten().tolist(), logs.std((0, 3)).flatten().tolist(), (1, frequencies), 9.0)
    analysis = Analysis(128, True, 1e-6, 128 if padding == "centre" else 0, 4096)
    generator = SpecGenerator(SpecPlan((1, 1), 1, 1, 2), 4, scale, analysis)
    seen = scale.seen(logs)
    assert seen.shape == (1, 1, frames, frequencies)
    torch.testing.assert_close(scale.stored(seen), logs, atol=1e-4, rtol=0)
    sound = generator.sound(seen, 30)
    assert sound.shape == (1, 1, 4096)
    middle = slice(1024, 3072)
    wanted, found = (stft(each[..., middle].double(), 256, 128).abs() for each in (x, sound))
    assert float((found - wanted).norm() / wanted.norm()) < 0.2


def test_what_is_far_from_the_mean_is_cut_and_a_still_frequency_stays() -> None:
    scale = Scale([1.0, -2.0], [0.5, 0.0], (1, 2), 3.0)
    seen = scale.seen(torch.tensor([[[[1.0, 2.5, 9.0], [-2.0, -2.0, -2.0]]]]))
    assert seen[0, 0].tolist() == [[0, 0], [1, 0], [1, 0]]


def test_the_generator_is_dense_then_transposed() -> None:
    generator = SpecGenerator(PLAN, 5, unit(), Analysis(8, False, 1e-6, 0, 64))
    z = torch.randn(2, 5)
    x = generator.first(z).view(2, 2, 4, 6).permute(0, 3, 1, 2)
    for level in generator.levels:
        full = level.conv(F.relu(x))
        height, width = (2 * side for side in x.shape[2:])
        x = full[:, :, 1 : 1 + height, 1 : 1 + width]
    assert torch.equal(generator(z), torch.tanh(x))
    assert generator(z).shape == (2, 1, 8, 16)


def test_the_critic_halves_and_scores() -> None:
    critic = SpecCritic(PLAN, unit())
    x = torch.randn(3, 1, 8, 16)
    y = x
    for level in critic.levels:
        y = F.leaky_relu(level.conv(F.pad(y, (1, 2, 1, 2))), 0.2)
    assert y.shape == (3, 6, 2, 4)
    assert torch.equal(critic(x), critic.score(y.permute(0, 2, 3, 1).flatten(1)).flatten())
    assert critic.score.bias.item() == 0
    bound = math.sqrt(6 / (48 + 1))
    assert critic.score.weight.abs().max() <= bound
