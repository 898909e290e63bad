from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.images import decode, fit, with_channels
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.errors import Rejected

Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]
LIMITS = Limits()


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_gives_back_its_pixels(noise: Noise, png: Png, channels: int) -> None:
    pixels = noise(1, 7, 5, channels)
    assert np.array_equal(decode(png(pixels), LIMITS), pixels)


def test_lossless_webp_gives_back_its_pixels(noise: Noise, png: Png) -> None:
    pixels = noise(2, 9, 4, 3)
    assert np.array_equal(decode(png(pixels, "WEBP", lossless=True), LIMITS), pixels)


def test_grey_jpeg_has_one_channel(png: Png) -> None:
    pixels = np.full((8, 8, 1), 100, dtype=np.uint8)
    assert np.array_equal(decode(png(pixels, "JPEG"), LIMITS), pixels)


def test_exif_orientation_is_applied(noise: Noise) -> None:
    pixels = noise(3, 4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate 90° clockwise to see it upright
    data = saved(Image.fromarray(pixels), exif=exif)
    assert np.array_equal(decode(data, LIMITS), np.rot90(pixels, -1))


def test_palette_becomes_rgb_and_with_transparency_rgba() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert decode(saved(image), LIMITS).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert decode(saved(image, transparency=1), LIMITS).tolist() == [[[255, 0, 0, 255], [0, 0, 255, 0]]]


def test_grey_alpha_becomes_rgba_and_one_bit_grey() -> None:
    assert decode(saved(Image.new("LA", (1, 1), (70, 9))), LIMITS).tolist() == [[[70, 70, 70, 9]]]
    assert decode(saved(Image.new("1", (1, 1), 1)), LIMITS).tolist() == [[[255]]]


def test_transparent_colour_of_an_rgb_png_counts_as_alpha() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert decode(saved(image, transparency=(9, 9, 9)), LIMITS).tolist() == [[[1, 2, 3, 255], [9, 9, 9, 0]]]


def reason(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(Rejected) as caught:
        decode(data, limits)
    return caught.value.reason


def test_sixteen_bits_are_rejected_grey_and_colour() -> None:
    assert reason(saved(Image.fromarray(np.full((2, 2), 4000, dtype=np.uint16)))) == "more than 8 bits a channel"
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    colour = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 7)) + chunk(b"IEND", b"")
    assert reason(b"\x89PNG\r\n\x1a\n" + colour) == "more than 8 bits a channel"


def test_cmyk_is_rejected() -> None:
    assert reason(saved(Image.new("CMYK", (4, 4)), "JPEG")) == "unsupported colours"


def test_animated_png_and_webp_are_rejected() -> None:
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (10, 200, 90)]
    for kind in ("PNG", "WEBP"):
        assert reason(saved(frames[0], kind, save_all=True, append_images=frames[1:])) == "animated"


def test_of_a_camera_mpo_the_first_picture_is_taken() -> None:
    first, second = Image.new("RGB", (8, 8), (128, 128, 128)), Image.new("RGB", (4, 4))
    data = saved(first, "MPO", save_all=True, append_images=[second])
    assert decode(data, LIMITS).tolist() == np.full((8, 8, 3), 128).tolist()


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a\1\0\1\0\0\0\0;", b"%PDF-1.4", b"<svg/>"])
def test_what_is_no_image_is_rejected(data: bytes) -> None:
    assert reason(data) == "not an image"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_file_is_rejected(noise: Noise, png: Png, kind: str) -> None:
    data = png(noise(4, 64, 64, 3), kind)
    assert reason(data[: len(data) // 2]) in ("damaged image", "not an image")


@pytest.mark.parametrize("side", [9_000, 30_000, 2**31 - 1])
def test_a_decompression_bomb_is_rejected_before_it_unpacks(side: int) -> None:
    assert reason(bomb(side, side)) == "too many pixels"


def test_caps_on_bytes_and_pixels(noise: Noise, png: Png) -> None:
    data = png(noise(5, 10, 10, 3))
    assert reason(data, Limits(max_bytes=len(data) - 1)) == "too many bytes"
    assert reason(data, Limits(max_pixels=99)) == "too many pixels"
    assert decode(data, Limits(max_bytes=len(data), max_pixels=100)).shape == (10, 10, 3)


SEEDS = {
    kind: saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)), kind)
    for kind in ("PNG", "JPEG", "WEBP")
}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))))
def test_no_damage_ends_in_anything_but_pixels_or_a_reject(kind: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(SEEDS[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        found: NDArray[np.uint8] | str = decode(bytes(data), Limits(max_pixels=10_000))
    except Rejected as problem:
        found = f"{problem.reason}: {problem.detail}"
    if isinstance(found, str):
        assert " at 0x" not in found
    else:
        assert found.dtype == np.uint8
        assert found.ndim == 3


# --- channels and resolution --------------------------------------------------------------------


def test_alpha_is_laid_over_white_or_black() -> None:
    pixels = np.array([[[100, 0, 200, 0], [100, 0, 200, 255], [100, 0, 200, 51]]], dtype=np.uint8)
    # 51/255 is a fifth: 0.2·100 + 0.8·255 = 224, 0.8·255 = 204, 0.2·200 + 204 = 244
    assert with_channels(pixels, 3, "white").tolist() == [[[255, 255, 255], [100, 0, 200], [224, 204, 244]]]
    assert with_channels(pixels, 3, "black").tolist() == [[[0, 0, 0], [100, 0, 200], [20, 0, 40]]]
    with pytest.raises(Rejected, match="transparent"):
        with_channels(pixels, 3, "reject")
    opaque = pixels[:, 1:2]
    assert with_channels(opaque, 3, "reject").tolist() == [[[100, 0, 200]]]


def test_grey_to_colour_and_back() -> None:
    grey = np.array([[[7], [200]]], dtype=np.uint8)
    assert with_channels(grey, 3, "white").tolist() == [[[7, 7, 7], [200, 200, 200]]]
    assert with_channels(grey, 4, "white").tolist() == [[[7, 7, 7, 255], [200, 200, 200, 255]]]
    colour = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    assert with_channels(colour, 1, "white").ravel().tolist() == [76, 150, 29]  # 0.299, 0.587, 0.114 of 255


def fitted(pixels: NDArray[np.uint8], **keys: Any) -> NDArray[np.uint8]:
    return fit(pixels, IngestSettings(**keys))


def test_without_settings_nothing_changes_but_the_layout(noise: Noise) -> None:
    pixels = noise(6)
    assert np.array_equal(fitted(pixels), pixels.transpose(2, 0, 1))
    assert fitted(pixels).flags.c_contiguous


def test_colour_hidden_by_zero_alpha_becomes_zero() -> None:
    pixels = np.array([[[9, 8, 7, 0], [9, 8, 7, 1]]], dtype=np.uint8)
    assert fitted(pixels)[:, 0].T.tolist() == [[0, 0, 0, 0], [9, 8, 7, 1]]


def test_center_crop_keeps_the_middle() -> None:
    pixels = np.repeat(np.arange(6, dtype=np.uint8)[None, :, None] * 10, 2, axis=0)  # 2 rows of 0 10 20 30 40 50
    assert fitted(pixels, resolution=2, resize="center_crop").tolist() == [[[20, 30], [20, 30]]]
    assert fitted(pixels.transpose(1, 0, 2), resolution=2, resize="center_crop").tolist() == [[[20, 20], [30, 30]]]


def test_stretch_averages_where_it_shrinks() -> None:
    pixels = np.array([[[0], [100]], [[50], [250]]], dtype=np.uint8)
    assert fitted(pixels, resolution=1, resize="stretch", filter="bilinear").tolist() == [[[100]]]
    enlarged = fitted(pixels, resolution=4, resize="stretch", filter="nearest")[0]
    assert enlarged.tolist() == np.kron(pixels[:, :, 0], np.ones((2, 2), dtype=int)).tolist()


def test_pad_keeps_all_of_the_image() -> None:
    pixels = np.full((2, 4, 1), 80, dtype=np.uint8)
    assert fitted(pixels, resolution=4, resize="pad", pad_value=7).tolist() == [[[7] * 4, [80] * 4, [80] * 4, [7] * 4]]
    seen_through = fitted(pixels, resolution=4, resize="pad", channels=4, pad_value=7)
    assert seen_through[3].tolist() == [[0] * 4, [255] * 4, [255] * 4, [0] * 4]
    assert seen_through[0, 0].tolist() == [0] * 4


def test_resize_none_rejects_other_resolutions(noise: Noise) -> None:
    with pytest.raises(Rejected, match="another resolution"):
        fitted(noise(7, 6, 5), resolution=6, resize="none")
    assert fitted(noise(7, 6, 5), resolution=(6, 5), resize="none").shape == (3, 6, 5)


def test_hidden_colour_does_not_bleed_when_resizing() -> None:
    pixels = np.array([[[255, 0, 0, 255], [0, 255, 0, 0]]], dtype=np.uint8)
    red, green, _, alpha = fitted(pixels, resolution=1, resize="stretch", filter="bilinear").ravel().tolist()
    assert (red, green) == (255, 0)
    assert alpha in (127, 128)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4])),
    st.tuples(st.integers(1, 24), st.integers(1, 24)),
    st.sampled_from(["stretch", "center_crop", "pad"]),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    st.sampled_from([None, 1, 3, 4]),
)
def test_every_image_gets_the_shape_asked_for(
    shape: tuple[int, int, int], size: tuple[int, int], resize: str, kind: str, channels: int | None
) -> None:
    pixels = np.full(shape, 200, dtype=np.uint8)
    x = fitted(pixels, resolution=size, resize=resize, filter=kind, channels=channels)
    assert x.shape == (channels or shape[2], *size)
    if resize != "pad" and shape[2] != 4:
        assert set(np.unique(x[:3])) == {200}  # a plain image stays plain, right up to its edges
