"""The arithmetic of each transform, against closed forms, Pillow, SciPy and torch."""

from __future__ import annotations

import io
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


# --- degrade ------------------------------------------------------------------------------------

CLEAN: dict[str, Any] = {"blur": [0, 0], "noise": [0, 0], "jpeg": None}


def test_degrading_by_nothing_is_the_image_and_by_a_factor_alone_is_downscale() -> None:
    x = image((3, 12, 20))
    assert np.array_equal(opened("degrade", **CLEAN)(x, NOBODY), x)
    assert np.array_equal(opened("degrade", **CLEAN, factor=4)(x, NOBODY), opened("downscale", factor=4)(x, NOBODY))


def test_the_blur_is_scipys_gaussian() -> None:
    x = image((3, 21, 17))
    expected = ndimage.gaussian_filter(x[0].astype(float), (0, 1.3, 1.3), mode="nearest", radius=(0, 4, 4))
    found = opened("degrade", **{**CLEAN, "blur": [1.3, 1.3]})(x, NOBODY)[0]
    assert float(np.abs(found - expected).max()) <= 0.5 + 1e-6


def test_jpeg_is_pillows_and_leaves_alpha() -> None:
    x = image((4, 16, 24))
    buffer = io.BytesIO()
    Image.fromarray(x[0, :3].transpose(1, 2, 0)).save(buffer, "JPEG", quality=40)
    expected = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    found = opened("degrade", **{**CLEAN, "jpeg": [40, 40]})(x, NOBODY)[0]
    assert np.array_equal(found[:3], expected)
    assert np.array_equal(found[3], x[0, 3])


def test_each_example_is_damaged_in_its_own_way_within_the_ranges() -> None:
    x = np.full((40, 1, 32, 32), 128, np.uint8)
    found = opened("degrade", blur=[0, 0], noise=[0.05, 0.2], jpeg=None)(x, np.arange(40)).astype(float)
    spreads = found.std(axis=(1, 2, 3)) / 127.5
    assert 0.04 < spreads.min() < 0.08
    assert 0.17 < spreads.max() < 0.22
    enlarged = opened("degrade", factor=4, same_size=True)
    assert enlarged.field(of((3, 16, 20))).shape == (3, 16, 20)
    assert enlarged(image((3, 16, 20)), NOBODY).shape == (1, 3, 16, 20)


@pytest.mark.parametrize(
    "keys",
    [{"blur": [2, 1]}, {"blur": [0, 50]}, {"noise": [-0.1, 1]}, {"jpeg": [0, 50]}, {"jpeg": [10, 101]}, {"factor": 0}],
)
def test_ranges_of_a_degradation_that_are_none_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(keys))):
        opened("degrade", **keys)


# --- mask ---------------------------------------------------------------------------------------


def test_a_box_has_the_size_that_is_asked_for_and_is_grey() -> None:
    x = np.full((5, 3, 20, 40), 7, np.uint8)
    keys: dict[str, Any] = {"size": [0.5, 0.5]}
    numbers = np.arange(5)
    mask = opened("mask", gives="mask", **keys)(x, numbers)
    assert np.array_equal(np.unique(mask), [0, 255])
    assert (mask == 0).sum(axis=(1, 2, 3)).tolist() == [10 * 20] * 5
    assert len({each.tobytes() for each in mask}) > 1, "each in a place of its own"
    masked = opened("mask", **keys)(x, numbers)
    assert np.array_equal(masked, np.where(mask == 0, 128, x))
    both = opened("mask", gives="both", **keys)
    assert both.field(of((3, 20, 40))).shape == (4, 20, 40)
    assert np.array_equal(both(x, numbers), np.concatenate([masked, mask], axis=1))


def test_a_mask_is_a_mask_and_follows_its_seed() -> None:
    x = image((3, 32, 32))
    made = opened("mask", gives="mask").field(of((3, 32, 32)))
    assert (made.kind, made.shape, made.dtype) == ("mask", (1, 32, 32), "uint8")
    first, again, other = (opened("mask", gives="mask", seed=seed)(x, NOBODY) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises(ValueError, match="3 channels"):
        opened("mask", gives="both").field(of((1, 8, 8)))


def test_strokes_are_lines_of_a_brush() -> None:
    x = image((1, 64, 64))
    found = opened("mask", gives="mask", holes="strokes", size=[0.3, 0.3])(x.repeat(20, 0), np.arange(20))
    share = (found == 0).mean(axis=(1, 2, 3))
    assert share.min() > 0.01
    assert share.max() < 0.6
    more = opened("mask", gives="mask", holes="strokes", size=[0.3, 0.3], count=[6, 6])(x.repeat(20, 0), np.arange(20))
    assert (more == 0).mean() > 2 * share.mean()


@pytest.mark.parametrize(
    "keys", [{"size": [0.5, 1.5]}, {"size": [0, 0.5]}, {"count": [0, 1]}, {"count": [2, 1]}, {"holes": "rings"}]
)
def test_holes_that_cannot_be_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(keys))):
        opened("mask", **keys)
