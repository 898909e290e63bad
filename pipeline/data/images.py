"""One image: stored bytes → uint8 pixels → the channels and resolution that were asked for.

What is done with unusual images is decided here, once:

    EXIF orientation        applied
    palette, 1 bit          RGB (RGBA where the palette has transparency), grey
    grey with alpha         RGBA
    16 bits a channel       rejected: which bits matter is the owner's to say
    CMYK and other spaces   rejected: a conversion needs the right colour profile
    embedded colour profile ignored, as image models read plain values
    animated                rejected; of an MPO (a camera's JPEG with previews) the first picture is taken
    of a label map          its numbers: of a palette the indices, of grey the levels; all else is rejected
    alpha 0                 its hidden colour becomes 0, so that equal looks have equal content
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from pipeline.data import notes
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.errors import Rejected
from pipeline.limits import JPEG_SCANS
from pipeline.storage.damage import DAMAGE

Pixels = NDArray[np.uint8]
FORMATS = ("JPEG", "PNG", "WEBP")
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
STRONG = 1.5  # a picture that is stretched more than so much in one direction is noted
MODES = {"1": "L", "L": "L", "LA": "RGBA", "La": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}


def decode(data: bytes, limits: Limits) -> Pixels:
    """JPEG, PNG or WebP bytes → uint8 (H, W, C) with 1, 3 or 4 channels.

    Raises:
        Rejected: for anything else, and for what the table above rejects.
    """
    return _opened(data, limits, _pixels)


def decode_map(data: bytes, limits: Limits) -> Pixels:
    """A PNG whose values are numbers of classes → uint8 (H, W, 1): indices into its palette, or levels of grey.

    Raises:
        Rejected: for anything else; a JPEG or a resized picture in colours holds no numbers of classes.
    """
    return _opened(data, limits, _numbers)


def _opened(data: bytes, limits: Limits, read: Callable[[Image.Image], Pixels]) -> Pixels:
    if len(data) > limits.max_bytes:
        raise Rejected("too many bytes", f"{len(data)}, allowed are {limits.max_bytes}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata is no reason to refuse an image
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _refuse(image, limits)
                if _scans(data) > JPEG_SCANS:
                    raise Rejected("too many scans", f"a JPEG of more than {JPEG_SCANS}; save it as a plain JPEG")
                image.load()
                return read(image)
        except UnidentifiedImageError:
            raise Rejected("not an image", "neither JPEG, PNG nor WebP") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise Rejected("too many pixels", f"allowed are {limits.max_pixels}") from None
        except DAMAGE as error:
            raise Rejected("damaged image", without_addresses(error)) from None


def _refuse(image: ImageFile.ImageFile, limits: Limits) -> None:
    """Reject by the header alone, before anything is unpacked."""
    width, height = image.size
    if width * height > limits.max_pixels:
        raise Rejected("too many pixels", f"{width}×{height}, allowed are {limits.max_pixels}")
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format != "MPO":
        raise Rejected("animated", f"{frames} frames")
    if image.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in image.tile):
        raise Rejected("more than 8 bits a channel", f"mode {image.mode}; convert it to 8 bits first")
    if image.mode not in MODES and image.mode not in ("P", "PA"):
        raise Rejected("unsupported colours", f"mode {image.mode}; convert it to RGB first")


def _scans(data: bytes) -> int:
    """How often a JPEG begins to tell its picture: counted to `JPEG_SCANS` + 1, and only where it may be so often."""
    place = count = 0
    if not data.startswith(b"\xff\xd8") or data.count(b"\xff\xda") <= JPEG_SCANS:
        return count
    while count <= JPEG_SCANS and (found := MARKER.search(data, place)):
        place, kind = found.end(), found[0][-1]
        if kind == 0xD9:  # the end; what a camera or a phone puts behind it is not read
            break
        if kind not in (0xD8, 0x01):
            count += kind == 0xDA
            place += int.from_bytes(data[place : place + 2], "big")
    return count


def _numbers(image: Image.Image) -> Pixels:
    """uint8 (H, W, 1) of a label map."""
    if image.format != "PNG":
        raise Rejected("no label map", f"a {image.format}; numbers of classes are kept by a PNG alone")
    if image.mode not in ("P", "L", "1"):
        raise Rejected("no label map", f"a PNG of the mode {image.mode}; save it with a palette, or as grey levels")
    return np.asarray(ImageOps.exif_transpose(image), dtype=np.uint8)[:, :, None]


def _pixels(image: Image.Image) -> Pixels:
    """uint8 (H, W, C) of an image of an accepted mode."""
    image = ImageOps.exif_transpose(image)
    see_through = image.mode == "PA" or "transparency" in image.info
    mode = "RGBA" if see_through else MODES.get(image.mode, "RGB")
    array = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def without_addresses(error: Exception) -> str:
    """The library's words without what differs from run to run, so that rejects.csv repeats."""
    return re.sub(r"\s*<[^>]* at 0x[0-9a-f]+>", "", str(error)).replace("\n", " ")[:200]


def as_rgba(pixels: Pixels) -> Pixels:
    """(H, W, C) as RGBA (H, W, 4), opaque where it has no alpha."""
    return pixels if pixels.shape[2] == 4 else _array(_image(pixels).convert("RGBA"))


# --- fitting ----------------------------------------------------------------------------------


def proportional(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two (height, width) have one aspect ratio, within one pixel of the smaller."""
    (height, width), (larger_height, larger_width) = sorted((first, second), key=lambda size: size[0] * size[1])
    return abs(height * larger_width - width * larger_height) <= max(larger_height, larger_width)


def fit(pixels: Pixels, settings: IngestSettings, like: tuple[int, int] | None = None) -> Pixels:
    """(H, W, C) → contiguous (C', H', W') with the channels and resolution of `settings`.

    Leaves notes where it enlarges, and where it stretches strongly.
    like: (height, width) of the image that decides which region is kept, where this one shows the same at another
        scale, `proportional` to it; None: its own.

    Raises:
        Rejected: where `transparency` or `resize` say that such an image is to be rejected.
    """
    channels = settings.channels or pixels.shape[2]
    pixels = with_channels(pixels, channels, settings.transparency)
    size = settings.size
    if size is not None and size != pixels.shape[:2]:
        pixels = resized(pixels, size, settings, like)
    if channels == 4:
        pixels = np.where(pixels[:, :, 3:] == 0, np.uint8(0), pixels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def with_channels(pixels: Pixels, channels: int, transparency: Literal["white", "black", "reject"]) -> Pixels:
    """(H, W, C) → (H, W, channels): grey is ITU-R 601 luma, alpha is laid over `transparency`."""
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] == 4:
        pixels = _opaque(pixels, transparency)
    if pixels.shape[2] == channels:
        return pixels
    target = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    return _array(_image(pixels).convert(target))


def _opaque(pixels: Pixels, transparency: Literal["white", "black", "reject"]) -> Pixels:
    """RGBA → RGB over a plain ground, rounded to nearest."""
    alpha = pixels[:, :, 3:].astype(np.uint32)
    if transparency == "reject" and bool((alpha < 255).any()):
        raise Rejected("transparent", "ingest.transparency is reject")
    ground = 255 if transparency == "white" else 0
    return ((pixels[:, :, :3] * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)


def resized(
    pixels: Pixels, size: tuple[int, int], settings: IngestSettings, like: tuple[int, int] | None = None
) -> Pixels:
    """(h, w, C) → (H, W, C) by `settings.resize`; RGBA is filtered with premultiplied alpha; `like`: as in `fit`."""
    height, width = pixels.shape[:2]
    if settings.resize == "none":
        raise Rejected("another resolution", f"{height}×{width}, asked for is {size[0]}×{size[1]}")
    resample = FILTERS[settings.filter]
    image = _image(pixels)
    whole = like or (height, width)
    if settings.resize == "stretch":
        scales = sorted((size[0] / height, size[1] / width))
        if scales[1] > STRONG * scales[0]:
            notes.leave(notes.STRETCHED, _from_to(pixels, size, scales[1] / scales[0]), scales[1] / scales[0])
        _note_enlarged(pixels, size, scales[1])
        return _array(image.resize((size[1], size[0]), resample))
    if settings.resize == "center_crop":
        scale = min(whole[0] / size[0], whole[1] / size[1])
        crop_height, crop_width = size[0] * scale * (height / whole[0]), size[1] * scale * (width / whole[1])
        _note_enlarged(pixels, size, max(size[0] / crop_height, size[1] / crop_width))
        left, top = max(0.0, (width - crop_width) / 2), max(0.0, (height - crop_height) / 2)
        box = (left, top, min(width, left + crop_width), min(height, top + crop_height))
        return _array(image.resize((size[1], size[0]), resample, box=box))
    scale = min(size[0] / whole[0], size[1] / whole[1])
    inner = (max(1, round(whole[0] * scale)), max(1, round(whole[1] * scale)))
    _note_enlarged(pixels, inner, scale * max(whole[0] / height, whole[1] / width))
    small = _array(image.resize((inner[1], inner[0]), resample))
    ground = 0 if pixels.shape[2] == 4 else settings.pad_value
    padded = np.full((*size, pixels.shape[2]), ground, dtype=np.uint8)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    padded[top : top + inner[0], left : left + inner[1]] = small
    return padded


def _note_enlarged(pixels: Pixels, size: tuple[int, int], times: float) -> None:
    """Leave a note where an image of `pixels` becomes larger, `times` in the direction in which it grows most."""
    if times > 1 + 1e-9:  # what a float adds is no enlargement
        notes.leave(notes.ENLARGED, _from_to(pixels, size, times), times)


def _from_to(pixels: Pixels, size: tuple[int, int], times: float) -> str:
    before, after = ("×".join(map(str, sides)) for sides in (pixels.shape[:2], size))
    return f"{before} to {after}, {times:.3g} times"


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def _array(image: Image.Image) -> Pixels:
    array = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array
