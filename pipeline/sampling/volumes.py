"""Voxel grids as something to look at: three shaded views, the surface turning, and the surface as a mesh.

A grid (D, H, W) stands as its last axis says: a larger place there is drawn higher.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

FULL = 0.5  # an occupancy above it is inside the surface
FAR = 0.35  # brightness of the farthest cells of a view
TURNS = 12  # pictures of one turn
TILT = math.radians(25)
GROUND = 24
DARKEST, BRIGHTEST = 70, 235
LIGHT = (0.35, 0.55, 0.76)  # towards the light, beside the viewer: right, up, to the front

Occupancy = NDArray[np.floating[Any]]


def views(occupancy: Occupancy) -> NDArray[np.uint8]:
    """(D, H, W) in [0, 1] → uint8 (1, h, w): from the front, from the side and from above, near cells brighter."""
    seen = [_view(occupancy, axis) for axis in (1, 0, 2)]
    height = max(each.shape[0] for each in seen)
    padded = [np.pad(each, ((height - each.shape[0], 0), (0, 0))) for each in seen]
    return np.rint(255 * np.concatenate(padded, axis=1)).astype(np.uint8)[None]


def _view(occupancy: Occupancy, axis: int) -> NDArray[np.float64]:
    """Along one axis: of each ray the brightest cell, which falls off with its distance."""
    seen = np.moveaxis(occupancy.astype(np.float64), axis, 0)
    seen = seen[::-1] if axis == 2 else seen  # from above
    shade = np.linspace(1, FAR, len(seen))[:, None, None]
    flat = (seen * shade).max(axis=0)
    return flat.T[::-1]


def faces(full: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The surface between full cells and empty ones, exactly.

    Returns corners (n, 4, 3) of each square face in whole cells, counter-clockwise seen from outside, and outward
    normals (n, 3).
    """
    corners: list[NDArray[np.int64]] = []
    normals: list[NDArray[np.int64]] = []
    padded = np.pad(full, 1)
    for axis in range(3):
        first, second = np.eye(3, dtype=np.int64)[[(axis + 1) % 3, (axis + 2) % 3]]
        square = np.stack([np.zeros(3, np.int64), first, first + second, second])
        for step in (-1, 1):
            cells = np.argwhere(full & ~np.roll(padded, -step, axis)[1:-1, 1:-1, 1:-1])
            normal = np.zeros(3, np.int64)
            normal[axis] = step
            start = cells + (normal if step > 0 else 0)
            corners.append(start[:, None] + (square if step > 0 else square[::-1]))
            normals.append(np.broadcast_to(normal, cells.shape))
    return np.concatenate(corners), np.concatenate(normals)


def obj(full: NDArray[np.bool_]) -> bytes:
    """The surface as a Wavefront .obj: shared corners, in cells, and a square a face. x, y, z are the grid's axes."""
    corners, _ = faces(full)
    places, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    lines = [f"v {x} {y} {z}" for x, y, z in places.tolist()]
    lines += ["f " + " ".join(map(str, face)) for face in (index.reshape(-1, 4) + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def turning(full: NDArray[np.bool_], side: int = 96) -> list[NDArray[np.uint8]]:
    """Pictures (side, side) of one turn about the last axis: the faces as squares, the nearest drawn last."""
    from PIL import Image, ImageDraw

    corners, normals = faces(full)
    middle = np.array(full.shape) / 2
    scale = side / (float(np.linalg.norm(full.shape)) * 1.02)
    pictures: list[NDArray[np.uint8]] = []
    for turn in range(TURNS):
        right, up, front = _directions(2 * math.pi * turn / TURNS)
        facing = normals @ front > 1e-9
        mine = corners[facing] - middle
        across, upward = (side / 2 + sign * scale * (mine @ axis) for sign, axis in ((1, right), (-1, up)))
        light = LIGHT[0] * right + LIGHT[1] * up + LIGHT[2] * front
        level = DARKEST + (BRIGHTEST - DARKEST) * np.clip(normals[facing] @ light, 0, 1)
        picture = Image.new("L", (side, side), GROUND)
        draw = ImageDraw.Draw(picture)
        polygons = np.stack([across, upward], axis=-1).round(2)
        for face in np.argsort((mine.mean(axis=1) @ front).round(6), kind="stable"):
            draw.polygon([tuple(each) for each in polygons[face].tolist()], fill=int(level[face]))
        pictures.append(np.asarray(picture))
    return pictures


def _directions(angle: float) -> tuple[NDArray[np.float64], ...]:
    """Where right, up and the viewer are, for a grid that was turned by `angle` and is seen from a little above."""
    right = np.array([math.cos(angle), math.sin(angle), 0.0])
    level = np.array([math.sin(angle), -math.cos(angle), 0.0])
    above = np.array([0.0, 0.0, 1.0])
    front = math.cos(TILT) * level + math.sin(TILT) * above
    return right, math.cos(TILT) * above - math.sin(TILT) * level, front


def npz(occupancy: Occupancy) -> bytes:
    """A compressed .npz with the array `occupancy`, float32 (D, H, W) in [0, 1]."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, occupancy=occupancy.astype(np.float32))
    return buffer.getvalue()
