"""What the image translators share: random jitter and crops, checks of size and fields, the optimiser."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pipeline.contract import Optimiser, Ramp
from pipeline.errors import SettingsError, UserError
from pipeline.families import _geometry
from pipeline.settings import Settings
from pipeline.types import Batch, DataSpec

ADAM = Optimiser(lr=2e-4, beta1=0.5, beta2=0.999)
"""As in both papers, batches of one example."""


def fading(examples: int, epochs: int = 100, falling: int = 100) -> dict[str, Ramp]:
    """The published schedule: 2e-4 for `epochs` of `examples` each, then linearly to 0 in `falling` more."""
    return {"lr": Ramp(start=2e-4, end=0.0, examples=falling * examples, after=epochs * examples)}


class Jitter(Settings):
    """What both papers do to their images in training: 256 pixels become 286, cut back to 256, mirrored or not."""

    enlarge: float = Field(default=286 / 256, ge=1, le=4, description="sides before the cut, over those of the data")
    mirror: float = Field(default=0.5, ge=0, le=1, description="probability of a mirror image")


def jittered(x: Tensor, jitter: Jitter | None, generator: torch.Generator, planes: bool = False) -> Tensor:
    """Images (n, c, h, w) in [−1, 1], each enlarged, cut back to its size at a place of its own, and maybe mirrored.

    Isola et al. 2017, appendix 6.2. Every place is as likely as any other; enlarging is bicubic, and what it
    throws beyond the range is cut. Values of `planes` of classes are not mixed. Draws are from the generator alone, so
    that equal ones treat images alike. Without a jitter, x itself.
    """
    if jitter is None:
        return x
    count, _, *sides = x.shape
    larger = [max(side, round(side * jitter.enlarge)) for side in sides]
    offsets = [
        torch.randint(0, wide - side + 1, (count, 1), generator=generator)
        for side, wide in zip(sides, larger, strict=True)
    ]
    mirrored = torch.rand(count, generator=generator) < jitter.mirror
    rows, columns = (offset + torch.arange(side) for offset, side in zip(offsets, sides, strict=True))
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    if larger != sides and planes:
        x = F.interpolate(x, size=larger, mode="nearest-exact")
    elif larger != sides:
        # With antialias the cubic is Keys's (a = −½), which the authors' image library uses.
        x = F.interpolate(x, size=larger, mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)
    index = torch.arange(count)[:, None, None]
    example, row, column = (each.to(x.device) for each in (index, rows[:, :, None], columns[:, None, :]))
    return x.permute(0, 2, 3, 1)[example, row, column].permute(0, 3, 1, 2).contiguous()


def cropped(low: Tensor, x: Tensor, side: int | None, scale: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A square of `side` pixels of each x (n, C, H, W), anywhere on low's own grid, and what low holds of it."""
    if side is None:
        return low, x
    small = side // scale
    rows, columns = (
        torch.randint(0, whole - small + 1, (len(x),), generator=generator).tolist() for whole in low.shape[2:]
    )
    places = list(zip(rows, columns, strict=True))
    return (
        torch.stack([each[:, r : r + small, c : c + small] for each, (r, c) in zip(low, places, strict=True)]),
        torch.stack(
            [
                each[:, r * scale : r * scale + side, c * scale : c * scale + side]
                for each, (r, c) in zip(x, places, strict=True)
            ]
        ),
    )


def other_shape(spec: DataSpec, field: str) -> tuple[int, ...]:
    """The shape of the images that `field` holds; that of x where the data says nothing of it."""
    return spec.field_shape(field) or spec.shape


def check_planes(family: str, spec: DataSpec, field: str, multiple: int) -> None:
    """Refuse sides that the networks would not give back, and two sizes.

    Raises:
        SettingsError: with the resolution that would do.
    """
    written = "×".join(str(axis) for axis in spec.resolution)
    if any(axis % multiple for axis in spec.resolution):
        raise SettingsError(
            f"families.{family}: its networks halve and double, so that sides must be multiples of {multiple}, and the "
            f"data is {written}; {_geometry.resize_to(spec.resolution, multiple)}"
        )
    other = other_shape(spec, field)[1:]
    if other != spec.resolution:
        found = "×".join(str(axis) for axis in other)
        raise SettingsError(
            f"families.{family}: x is {written} and {field} {found}; set one ingest.resolution for both"
        )


def check_halvings(family: str, spec: DataSpec, field: str, halvings: int, last: int) -> None:
    """Refuse images too small for networks that halve so often and end with a map of `last` by `last`.

    Raises:
        SettingsError: with the resolution that would do.
    """
    multiple = 2**halvings
    if min(spec.resolution) < last * multiple:
        written = "×".join(str(axis) for axis in spec.resolution)
        raise SettingsError(
            f"families.{family}.halvings: {halvings} need sides of {last * multiple} or more, and the data is "
            f"{written}; set fewer, or {_geometry.resize_to((last * multiple,) * 2, multiple)}"
        )
    check_planes(family, spec, field, multiple)


def check_patches(family: str, spec: DataSpec, layers: int) -> None:
    """Refuse images too small for a PatchGAN of so many halvings, whose last norm needs more than one place.

    Raises:
        SettingsError: with the resolution that would do.
    """
    least = 3 * 2**layers
    if layers and min(spec.resolution) < least:
        written = "×".join(str(axis) for axis in spec.resolution)
        raise SettingsError(
            f"families.{family}.discriminator_layers: {layers} need sides of {least} or more, and the data is "
            f"{written}; set fewer, or {_geometry.resize_to((least,) * 2, 4)}"
        )


def field_of(batch: Batch, name: str, family: str) -> Tensor:
    """The batch's field (n, …).

    Raises:
        UserError: naming it, where the batch has none.
    """
    if name not in batch:
        raise UserError(f"{family} translates: it needs a batch with {name}, and was given none")
    return batch[name]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
