from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.extractors._resizing import WAYS, network_input, pil_bicubic, tf1_bilinear


def random_pixels(n: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, height, width), dtype=np.uint8)


def by_pil(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Each channel as PIL's float image, its BICUBIC, as clean-fid does it."""

    def one(channel: NDArray[np.uint8]) -> NDArray[np.float32]:
        image = Image.fromarray(channel.astype(np.float32))
        return np.asarray(image.resize(size[::-1], resample=Image.Resampling.BICUBIC))

    return np.stack([np.stack([one(channel) for channel in image]) for image in pixels])


@pytest.mark.parametrize("shape", [(32, 32), (299, 299), (68, 56), (512, 300), (299, 40), (1, 1), (700, 3)])
def test_clean_is_pil_s(shape: tuple[int, int]) -> None:
    pixels = random_pixels(2, *shape)
    found = pil_bicubic(torch.tensor(pixels).float(), (299, 299)).numpy()
    assert np.abs(found - by_pil(pixels, (299, 299))).max() <= 255 * 2e-7


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0)
)
def test_clean_is_pil_s_at_any_size(before: tuple[int, int], after: tuple[int, int], seed: int) -> None:
    pixels = random_pixels(1, *before, seed % 1000)
    found = pil_bicubic(torch.tensor(pixels).float(), after).numpy()
    assert np.abs(found - by_pil(pixels, after)).max() <= 255 * 4e-7


def by_the_formula(row: list[float], after: int) -> list[float]:
    """TF1's rule on a line: output i lies at i·in/out."""
    scale = len(row) / after
    found = []
    for index in range(after):
        low = int(index * scale)
        high = min(low + 1, len(row) - 1)
        found.append(row[low] + (row[high] - row[low]) * (index * scale - low))
    return found


@pytest.mark.parametrize(
    ("row", "after", "expected"),
    [
        ([0, 4], 4, [0, 2, 4, 4]),  # from the corner: the last number repeats
        ([0, 3, 9], 6, [0, 1.5, 3, 6, 9, 9]),
        ([0, 1, 2, 3], 2, [0, 2]),  # shrinking skips: no antialiasing
        ([5], 3, [5, 5, 5]),
        ([1, 2, 3], 3, [1, 2, 3]),
    ],
)
def test_legacy_tf_by_hand(row: list[float], after: int, expected: list[float]) -> None:
    assert by_the_formula(row, after) == pytest.approx(expected)
    across = tf1_bilinear(torch.tensor(row).float().reshape(1, 1, 1, -1), (1, after))
    assert across.flatten().tolist() == expected
    down = tf1_bilinear(torch.tensor(row).float().reshape(1, 1, -1, 1), (after, 1))
    assert down.flatten().tolist() == expected


def test_legacy_tf_of_two_axes_by_hand() -> None:
    x = torch.tensor([[0.0, 8.0], [16.0, 32.0]]).reshape(1, 1, 2, 2)
    expected = [[0, 4, 8, 8], [8, 14, 20, 20], [16, 24, 32, 32], [16, 24, 32, 32]]
    assert tf1_bilinear(x, (4, 4))[0, 0].tolist() == expected


@pytest.mark.parametrize("length", [32, 64, 300, 1024, 7])
def test_legacy_tf_is_the_formula_at_299(length: int) -> None:
    row = np.random.default_rng(length).integers(0, 256, length).astype(float).tolist()
    found = tf1_bilinear(torch.tensor(row).float().reshape(1, 1, 1, -1), (1, 299)).flatten().tolist()
    # Places are float32 in TensorFlow: up to length·2⁻²⁴ of a pixel off the formula's.
    assert found == pytest.approx(by_the_formula(row, 299), abs=255 * length * 2**-23)


def test_legacy_torch_is_pytorch_fid_s() -> None:
    pixels = random_pixels(2, 32, 48)
    unit = torch.tensor(pixels).float().div(255)
    expected = 2 * torch.nn.functional.interpolate(unit, size=(299, 299), mode="bilinear", align_corners=False) - 1
    assert torch.equal(network_input(torch.tensor(pixels).float(), "legacy_torch"), expected)


def test_legacy_torch_by_hand() -> None:
    # A step between two pixels, 299 wide: flat to a quarter, linear between the centres, flat again.
    x = torch.tensor([0.0, 255.0]).reshape(1, 1, 1, 2).expand(1, 3, 2, 2)
    row = network_input(x, "legacy_torch")[0, 0, 0]
    place = (torch.arange(299) + 0.5) * 2 / 299 - 0.5
    assert torch.allclose(row, 2 * place.clamp(0, 1) - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("way", "white", "black"), [("legacy_torch", 1, -1), ("legacy_tf", 127 / 128, -1), ("clean", 127 / 128, -1)]
)
def test_flat_images_stay_flat(way: str, white: float, black: float) -> None:
    assert way in WAYS
    for value, expected in ((255.0, white), (0.0, black)):
        found = network_input(torch.full((1, 3, 20, 31), value), way)  # pyright: ignore[reportArgumentType]
        assert found.shape == (1, 3, 299, 299)
        assert torch.allclose(found, torch.tensor(float(expected)), atol=1e-6)


def test_clean_cuts_what_overshoots() -> None:
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 255
    assert float(pil_bicubic(edge, (299, 299)).max()) > 256
    found = network_input(edge, "clean")
    assert (float(found.min()), float(found.max())) == (-1, 127 / 128)
