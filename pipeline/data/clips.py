"""One clip: stored pictures → uint8 frames (T, H, W, C), the first ones, so many apart.

    animated    GIF, WebP and animated PNG: frame by frame as they are shown, each laid over the last
    strip       one picture of frames side by side, from left to right
    frames      a picture each; all of one size

Frames are grey where all are, RGBA where any is transparent, else RGB.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.data import images
from pipeline.data.source import Limits
from pipeline.errors import Rejected
from pipeline.storage.damage import DAMAGE

Frames = NDArray[np.uint8]
FORMATS = ("GIF", "WEBP", "PNG")
GREYS = ("1", "L")


@dataclass(frozen=True, slots=True)
class Cut:
    """Which frames are kept: `count` of them, `stride` apart, from the `skip`-th on.

    most: pixels that may be decoded.
    """

    count: int
    stride: int
    skip: int
    most: int

    @property
    def last(self) -> int:
        """The number of the last frame that is kept."""
        return self.skip + (self.count - 1) * self.stride

    def kept(self) -> range:
        """The numbers of all."""
        return range(self.skip, self.last + 1, self.stride)

    def check(self, there: int) -> None:
        """Reject a clip that has fewer frames."""
        if there <= self.last:
            raise Rejected("too few frames", f"{there}, and {self.last + 1} are needed")

    def check_pixels(self, frames: int, height: int, width: int) -> None:
        """Reject a clip that would decode to more pixels than is allowed."""
        if frames * height * width > self.most:
            raise Rejected("too many pixels", f"{frames} frames of {height}×{width}, allowed are {self.most}")


def animated(data: bytes, cut: Cut, limits: Limits) -> Frames:
    """The frames of a GIF, WebP or PNG file.

    Raises:
        Rejected: for anything else, a damaged file, and one that has fewer frames, or more pixels than are allowed.
    """
    shown: list[Frames] = []
    grey = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata is no reason to refuse a picture
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > limits.max_pixels:
                    raise Rejected("too many pixels", f"{width}×{height}, allowed are {limits.max_pixels}")
                cut.check_pixels(cut.last + 1, height, width)
                for number in range(cut.last + 1):
                    try:
                        picture.seek(number)
                    except EOFError:
                        cut.check(number)
                    if number in cut.kept():
                        grey = grey and picture.mode in GREYS and "transparency" not in picture.info
                        shown.append(np.asarray(picture.convert("RGBA")))
        except UnidentifiedImageError:
            raise Rejected("not a clip", "neither GIF, WebP nor animated PNG") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise Rejected("too many pixels", f"allowed are {limits.max_pixels}") from None
        except DAMAGE as error:
            raise Rejected("damaged clip", images.without_addresses(error)) from None
    found = np.stack(shown)
    if bool((found[..., 3] < 255).any()):
        return found
    return found[..., :1] if grey else found[..., :3]


def strip(data: bytes, width: int | None, cut: Cut, limits: Limits) -> Frames:
    """The frames of one picture, each `width` pixels wide, or as wide as it is high.

    Raises:
        Rejected: where it is no picture, or not so many frames.
    """
    whole = images.decode(data, limits)
    side = width or whole.shape[0]
    if whole.shape[1] % side:
        raise Rejected("no whole frames", f"{whole.shape[1]} pixels across are no multiple of {side}")
    count = whole.shape[1] // side
    cut.check(count)
    frames = whole.reshape(whole.shape[0], count, side, whole.shape[2]).swapaxes(0, 1)
    return np.ascontiguousarray(frames[cut.skip : cut.last + 1 : cut.stride])


def pictures(stored: Sequence[bytes], cut: Cut, limits: Limits) -> Frames:
    """The frames that are each a picture, those that are kept alone.

    Raises:
        Rejected: where one is none, or they differ in size.
    """
    found: list[Frames] = []
    for data in stored:
        found.append(images.decode(data, limits))
        cut.check_pixels(len(stored), *found[0].shape[:2])
    sizes = sorted({each.shape[:2] for each in found})
    if len(sizes) > 1:
        raise Rejected("frames of several sizes", " and ".join(f"{high}×{wide}" for high, wide in sizes[:2]))
    channels = max(each.shape[2] for each in found)
    if any(each.shape[2] != channels for each in found):
        found = [images.as_rgba(each) if channels == 4 else each.repeat(3 // each.shape[2], axis=2) for each in found]
    return np.stack(found)
