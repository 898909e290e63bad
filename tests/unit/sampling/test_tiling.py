"""Tiles: a network that looks at single places gives what it gives of the whole image, however that is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contract import Resizing
from pipeline.errors import Rejected, UserError
from pipeline.networks.architectures.srgan import EnlargerPlan, SrResNet
from pipeline.sampling import tiling
from pipeline.types import Array


def image(height: int, width: int, channels: int = 3) -> Array:
    return np.random.default_rng(1).integers(0, 256, (channels, height, width), np.uint8)


def enlarging(scale: int) -> tiling.Made:
    def make(tile: Array) -> Array:
        return (tile.repeat(scale, 1).repeat(scale, 2) / np.float32(127.5) - 1).astype(np.float32)

    return make


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.integers(16, 40),
    overlap=st.integers(0, 15),
    multiple=st.sampled_from([1, 4, 8]),
    scale=st.sampled_from([1, 2, 4]),
)
def test_a_design_of_pixels_gives_what_it_gives_of_the_whole(
    height: int, width: int, tile: int, overlap: int, multiple: int, scale: int
) -> None:
    x = image(height, width)
    resizing = Resizing(scale, multiple, multiple)
    cuts = tiling.cut((height, width), resizing, tile, overlap)
    shapes: set[tuple[int, ...]] = set()

    def make(part: Array) -> Array:
        shapes.add(part.shape[1:])
        return enlarging(scale)(part)

    assert np.array_equal(tiling.translated(x, cuts, make), x.repeat(scale, 1).repeat(scale, 2))
    assert shapes == {cuts.tile}
    assert not any(side % multiple for side in cuts.tile)
    assert max(cuts.tile) <= tile + multiple - 1


def test_an_overlap_as_wide_as_a_network_sees_leaves_no_seam() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = SrResNet(EnlargerPlan(3, 3, 4, 4, 1)).eval()

    def make(part: Array) -> Array:
        with torch.no_grad():
            return network(torch.from_numpy(part)[None].float() / 255)[0].numpy()

    x = image(70, 90)
    whole = tiling.translated(x, tiling.cut((70, 90), Resizing(4), 512, 0), make)
    # A pixel of the output depends on 10 of the input to either side; the outer quarter of an overlap is not used.
    parts = tiling.translated(x, tiling.cut((70, 90), Resizing(4), 60, 44), make)
    assert whole.shape == (3, 280, 360)
    assert int(np.abs(whole.astype(int) - parts).max()) <= 1, "but for rounding"
    seams = tiling.translated(x, tiling.cut((70, 90), Resizing(4), 60, 0), make)
    assert int(np.abs(whole.astype(int) - seams).max()) > 1


def test_padding_is_the_mirror_image_and_is_cut_away() -> None:
    seen: list[Array] = []

    def make(part: Array) -> Array:
        seen.append(part)
        return enlarging(1)(part)

    x = image(5, 7)
    cuts = tiling.cut((5, 7), Resizing(multiple=8, least=8), 64, 8)
    assert cuts.said == {"size": [5, 7], "padding": [3, 1], "tiles": [1, 1], "tile": [8, 8], "output_size": [5, 7]}
    assert np.array_equal(tiling.translated(x, cuts, make), x)
    assert np.array_equal(seen[0], np.pad(x, ((0, 0), (0, 3), (0, 1)), mode="symmetric"))


def test_what_would_be_too_large_and_overlaps_that_leave_no_step_are_refused() -> None:
    with pytest.raises(Rejected, match="too large an output"):
        tiling.cut((8192, 8192), Resizing(4), 512, 64)
    with pytest.raises(UserError, match="overlap: 64 must be less than the tile, 32"):
        tiling.cut((100, 100), Resizing(), 32, 64)
    assert tiling.cut((30, 30), Resizing(), 32, 64).rows == (0,), "one tile overlaps with none"


def test_numbers_that_are_not_finite_are_said() -> None:
    with pytest.raises(UserError, match="non-finite"):
        tiling.translated(image(4, 4), tiling.cut((4, 4), Resizing(), 16, 0), lambda x: x * np.float32("nan"))
