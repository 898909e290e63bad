from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.scoring.sizes import Resized, parse_size, written
from pipeline.types import DataSpec


@pytest.mark.parametrize(
    ("text", "size"), [("64", (64, 64)), ("48x64", (48, 64)), ("48×64", (48, 64)), ("1X8192", (1, 8192))]
)
def test_sizes_are_a_side_or_two(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size
    assert parse_size(written(size)) == size


@pytest.mark.parametrize("text", ["", "0", "0x8", "8193", "8x", "x8", "8x8x3", "-8", "8.5", "big", "٨"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--size .*: must be one side of a square, or height x width, such as 64 or"):
        parse_size(text)


class Set:
    """Images of unlike sizes."""

    def __init__(self, *x: np.ndarray) -> None:
        self.x = x
        self.spec = DataSpec("image", x[0].shape, ("a",))

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        found = np.empty(len(indices), dtype=object)
        found[:] = [self.x[index] for index in indices]
        return {"x": found, "label": np.zeros(len(indices), dtype=np.int64)}


def test_images_are_stretched_as_pillow_does_it() -> None:
    draw = np.random.default_rng(0)
    x = [draw.integers(0, 256, shape, dtype=np.uint8) for shape in ((3, 9, 5), (3, 4, 6), (3, 12, 12))]
    resized = Resized(Set(*x), (4, 6))
    assert (len(resized), resized.spec.shape, resized.spec.classes) == (3, (3, 4, 6), ("a",))
    found = resized.examples(np.arange(3))
    assert (found["x"].dtype, found["x"].shape, found["label"].tolist()) == (np.uint8, (3, 3, 4, 6), [0, 0, 0])
    assert np.array_equal(found["x"][1], x[1])
    for index in (0, 2):
        image = Image.fromarray(x[index].transpose(1, 2, 0)).resize((6, 4), Image.Resampling.BICUBIC)
        assert np.array_equal(found["x"][index], np.asarray(image).transpose(2, 0, 1))


def test_unlike_channels_stay_unlike() -> None:
    found = Resized(Set(np.zeros((1, 8, 8), np.uint8), np.zeros((3, 4, 4), np.uint8)), (4, 4)).examples(np.arange(2))
    assert [image.shape for image in found["x"]] == [(1, 4, 4), (3, 4, 4)]
