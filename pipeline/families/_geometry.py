"""Resolutions as a base and doublings of it, refused with advice where they are not."""

from __future__ import annotations

from pipeline.errors import SettingsError


def count_levels(resolution: tuple[int, ...], smallest: int) -> int:
    """How often every axis can be halved without a remainder and stay at `smallest` or above."""
    levels = 0
    while all(axis % 2 ** (levels + 1) == 0 and axis // 2 ** (levels + 1) >= smallest for axis in resolution):
        levels += 1
    return levels


def find_base(
    family: str, resolution: tuple[int, ...], levels: int | None, smallest: int
) -> tuple[tuple[int, ...], int]:
    """The smallest map and the number of doublings from it to the resolution: H×W = base·2^levels.

    Without `levels`, as many as leave a base of `smallest` or above.

    Raises:
        SettingsError: where the resolution is no base·2^levels, with what would do.
    """
    written = "×".join(str(axis) for axis in resolution)
    most = count_levels(resolution, 1)
    chosen = count_levels(resolution, smallest) if levels is None else levels
    if levels is not None and levels > most:
        raise SettingsError(
            f"families.{family}.levels: {written} cannot be halved {levels} times without a remainder; "
            f"{_fewer(most)}{resize_to(resolution, 2**levels)}"
        )
    if chosen == 0:
        raise SettingsError(
            f"families.{family}: {written} is no base·2^k with k ≥ 1 and a base of {smallest} or above; "
            f"{_fewer(most)}{resize_to(resolution, 2 * smallest if most else 8)}"
        )
    return tuple(axis // 2**chosen for axis in resolution), chosen


def check_doublings(family: str, key: str, resolution: tuple[int, ...], doublings: int) -> None:
    """Refuse a resolution that the stages listed under `key` do not end in.

    Raises:
        SettingsError: with the number of stages that would do.
    """
    written = "×".join(str(axis) for axis in resolution)
    most = count_levels(resolution, 1)
    if doublings > most:
        raise SettingsError(
            f"families.{family}.{key}: {doublings + 1} stages need sides that are multiples of {2**doublings}, and "
            f"the data is {written}; {f'list {most + 1} stages or fewer, or ' if most else ''}"
            f"{resize_to(resolution, 2**doublings)}"
        )


def _fewer(levels: int) -> str:
    return f"set levels to {levels} or below, or " if levels else ""


def resize_to(resolution: tuple[int, ...], multiple: int) -> str:
    """Advice: the nearest resolution whose sides are multiples of `multiple`, at ingest."""
    near = [max(multiple, round(axis / multiple) * multiple) for axis in resolution]
    return f"resize the images at ingest, for example ingest.resolution: {near[0] if len({*near}) == 1 else near}"
