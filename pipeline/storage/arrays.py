"""NumPy's files: the header is held against the bytes that are there before an array is made; objects are refused."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Damaged
from pipeline.storage import zips
from pipeline.storage.damage import reading


def read(path: Path, most: int | None = None, *, mapped: bool = False) -> NDArray[Any]:
    """The array of an .npy.

    most: bytes it may hold; None: as many as the file has. mapped: left on disk until it is read.

    Raises:
        Damaged: if it is none, holds objects, or less than its header says.
    """
    with reading(), path.open("rb") as file:
        _plain(file, os.fstat(file.fileno()).st_size, most)
        if mapped:
            return np.lib.format.open_memmap(path, mode="r")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def decode(data: bytes, most: int | None = None) -> NDArray[Any]:
    """The array of an .npy's bytes.

    Raises:
        Damaged: as `read`.
    """
    with reading():
        file = io.BytesIO(data)
        _plain(file, len(data), most)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def shapes(path: Path | BinaryIO) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of every array of plain numbers in an .npz, by the headers alone.

    Raises:
        Damaged: if it is no such file, or names an array twice.
    """
    found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    infos = zips.members(path)
    with reading(), zipfile.ZipFile(path) as archive:
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as member:
                shape, dtype = _header(cast(BinaryIO, member))
            if name in found:
                raise Damaged(f"it holds '{name}' twice")
            if not dtype.hasobject:
                found[name] = shape, dtype
    return found


def read_members(
    path: Path | BinaryIO, wanted: Collection[str], most: int
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The arrays of an .npz that are wanted, and the names of all; others, and objects, are not unpacked.

    most: bytes that the wanted ones may hold together.

    Raises:
        Damaged: if it is no such file, or they hold more, or less than they say.
    """
    found: dict[str, NDArray[Any]] = {}
    infos = zips.members(path)
    names = tuple(dict.fromkeys(info.filename.removesuffix(".npy") for info in infos))
    with reading(), zipfile.ZipFile(path) as archive:
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if name not in wanted or not info.filename.endswith(".npy"):
                continue
            if name in found:
                raise Damaged(f"it holds '{name}' twice")
            with archive.open(info) as member:
                if not _plain(cast(BinaryIO, member), info.file_size, most, objects=True):
                    continue
            with archive.open(info) as member:
                found[name] = np.lib.format.read_array(cast(BinaryIO, member), allow_pickle=False)
            most -= info.file_size
    return found, names


def _plain(file: BinaryIO, size: int, most: int | None, *, objects: bool = False) -> bool:
    """Hold a header against the `size` bytes of its file; False for objects where they are to be passed over."""
    shape, dtype = _header(file)
    if dtype.hasobject:
        if objects:
            return False
        raise Damaged("it holds Python objects, which are never read")
    if min(shape, default=1) < 0 or not dtype.itemsize:
        raise Damaged(f"its header says {dtype} {shape}")
    told, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if most is not None and max(told, size) > most:
        raise Damaged(f"it holds {max(told, size)} bytes, and {most} are allowed")
    if told > held:
        raise Damaged(f"cut short or damaged: its header says {dtype} {shape}, {told} bytes, and {held} follow")
    return True


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type, as the file says."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    return shape, dtype
