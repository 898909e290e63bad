"""The arithmetic of each transform, against closed forms, Pillow, SciPy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from pipeline import plugins
from pipeline.data.transform import Transform
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.types import Array, FieldSpec

NOBODY = np.zeros(1, dtype=np.int64)


def opened(name: str, **keys: Any) -> Transform[Settings]:
    return plugins.load("data.transforms", {"name": name, **keys})


def image(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (1, *shape), np.uint8)


def of(shape: tuple[int, ...], kind: Any = "image") -> FieldSpec:
    return FieldSpec.usual("x", kind, shape)


# --- downscale and grey -------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_downscaling_is_pillows_bicubic(channels: int) -> None:
    x = image((channels, 12, 20))
    x[:, 3:] = 255  # alpha, with which colours are weighted
    pixels = x[0].transpose(1, 2, 0)
    expected = np.asarray(Image.fromarray(pixels.squeeze()).resize((5, 3), Image.Resampling.BICUBIC))
    found = opened("downscale", factor=4)(x, NOBODY)
    assert opened("downscale", factor=4).field(of((channels, 12, 20))).shape == (channels, 3, 5)
    assert np.array_equal(found[0].transpose(1, 2, 0).squeeze(), expected)


def test_downscaling_keeps_a_plane_and_is_near_torchs_bicubic() -> None:
    slope = np.rint(np.add.outer(np.arange(32), np.arange(32)) * 4).astype(np.uint8)[None, None]
    found = opened("downscale", factor=2)(slope, NOBODY)[0, 0].astype(float)
    assert np.allclose(found[2:-2, 2:-2], (slope[0, 0, ::2, ::2] + 4.0)[2:-2, 2:-2])
    x = image((3, 32, 32))
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(x).float(), scale_factor=0.25, mode="bicubic", antialias=True, align_corners=False
    )
    found = opened("downscale")(x, NOBODY)
    assert float((torch.from_numpy(found).float() - theirs.clamp(0, 255)).abs().max()) <= 1


def test_a_factor_that_leaves_a_rest_is_refused() -> None:
    with pytest.raises(ValueError, match=r"factor: 4 does not divide .* 12×18"):
        opened("downscale").field(of((3, 12, 18)))


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (4, "RGBA")])
def test_grey_is_pillows(channels: int, mode: str) -> None:
    x = image((channels, 40, 50))
    expected = np.asarray(Image.fromarray(x[0].transpose(1, 2, 0), mode=None).convert("L"))
    assert mode == Image.fromarray(x[0].transpose(1, 2, 0)).mode
    assert np.array_equal(opened("grey")(x, NOBODY)[0, 0], expected)
    with pytest.raises(ValueError, match="grey already"):
        opened("grey").field(of((1, 4, 4)))


# --- edges --------------------------------------------------------------------------------------


def test_a_full_step_is_255_beside_it_and_0_elsewhere() -> None:
    x = np.zeros((1, 1, 6, 8), np.uint8)
    x[..., 4:] = 255
    found = opened("edges")(x, NOBODY)[0, 0]
    expected = np.zeros((6, 8), np.uint8)
    expected[:, 3:5] = 255
    assert np.array_equal(found, expected)
    assert np.array_equal(opened("edges")(x.swapaxes(2, 3).copy(), NOBODY)[0, 0], expected.T)


def test_a_slope_is_twice_its_levels_a_pixel() -> None:
    x = (np.arange(16, dtype=np.uint8) * 7).repeat(10).reshape(16, 10).T[None, None]
    assert set(opened("edges")(np.ascontiguousarray(x), NOBODY)[0, 0, :, 1:-1].ravel().tolist()) == {14}


def test_edges_are_scipys_sobel_on_luma() -> None:
    x = image((3, 15, 21))
    grey = np.asarray(Image.fromarray(x[0].transpose(1, 2, 0)).convert("L")).astype(np.int64)
    one, other = (ndimage.sobel(grey, axis=axis, mode="nearest") for axis in (0, 1))
    expected = np.minimum(np.rint(np.hypot(one, other) / 4), 255)
    assert np.array_equal(opened("edges")(x, NOBODY)[0, 0], expected)
    cut = opened("edges", threshold=60)(x, NOBODY)[0, 0]
    assert np.array_equal(cut, np.where(expected >= 60, 255, 0))


# --- spectrogram --------------------------------------------------------------------------------


def test_specgans_shape_is_the_default() -> None:
    made = opened("spectrogram").field(of((1, 16_384), "waveform"))
    assert made == FieldSpec("x", "spectrogram", (1, 128, 128), "float32", False)


@pytest.mark.parametrize(("padding", "samples"), [("centre", 1000), ("none", 1000), ("end", 1000), ("end", 1024)])
def test_it_is_torchs_stft(padding: str, samples: int) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (3, 2, samples)).astype(np.float32)
    keys: dict[str, Any] = {"window": 128, "hop": 32, "padding": padding, "nyquist": True, "floor": 1e-3}
    sound = torch.from_numpy(x).double().reshape(6, samples)
    if padding == "end":
        frames = -(-samples // 32)
        sound = torch.nn.functional.pad(sound, (0, (frames - 1) * 32 + 128 - samples))
    theirs = torch.stft(
        sound,
        128,
        32,
        window=torch.hann_window(128, dtype=torch.float64),
        center=padding == "centre",
        return_complex=True,
    )
    expected = torch.log(theirs.abs() + 1e-3).reshape(3, 2, *theirs.shape[1:])
    found = opened("spectrogram", **keys)(x, np.arange(3))
    assert found.shape[1:] == opened("spectrogram", **keys).field(of((2, samples), "waveform")).shape
    assert np.allclose(found, expected, atol=1e-5)


def test_a_tone_is_loudest_at_its_own_frequency_and_silence_is_the_floor() -> None:
    time = np.arange(4096)
    x = np.cos(2 * np.pi * 20 / 256 * time).astype(np.float32)[None, None]
    found = opened("spectrogram", padding="none")(x, NOBODY)[0, 0]
    assert set(found.argmax(axis=0).tolist()) == {20}
    assert np.allclose(found[20], np.log(256 / 4), atol=1e-4), "half a Hann window's sum"
    silence = opened("spectrogram", floor=1e-6)(np.zeros((1, 1, 512), np.float32), NOBODY)
    assert np.allclose(silence, np.log(1e-6))


def test_settings_and_sounds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SettingsError, match="hop"):
        opened("spectrogram", window=64, hop=65)
    with pytest.raises(ValueError, match="needs 256 samples"):
        opened("spectrogram", padding="none").field(of((1, 255), "waveform"))
    with pytest.raises(ValueError, match="needs 129 samples"):
        opened("spectrogram", padding="centre").field(of((1, 128), "waveform"))


# --- noise --------------------------------------------------------------------------------------


def test_noise_has_the_spread_that_is_asked_for_and_follows_the_example() -> None:
    x = np.full((2, 1, 64, 64), 128, np.uint8)
    found = opened("noise", std=0.2)(x, np.array([4, 9])).astype(float)
    assert abs(found.std() / 127.5 - 0.2) < 0.01
    assert not np.array_equal(found[0], found[1])
    assert np.array_equal(found[1], opened("noise", std=0.2)(x[:1], np.array([9]))[0])
    assert not np.array_equal(found[1], opened("noise", std=0.2, seed=1)(x[:1], np.array([9]))[0])
    sound = opened("noise", std=3.0)(np.zeros((1, 1, 500), np.float32), NOBODY)
    assert float(np.abs(sound).max()) == 1
