"""safetensors files as others may have written them: the header's size is looked at, all faults are one error."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from pipeline import limits
from pipeline.errors import BrokenArtefact, Damaged
from pipeline.storage.damage import reading


def read(path: Path) -> dict[str, Tensor]:
    """All its tensors, on the CPU.

    Raises:
        BrokenArtefact: if it is missing, or no such file.
    """
    from safetensors.torch import load_file

    return _read(path, load_file)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The same as NumPy's arrays.

    Raises:
        BrokenArtefact: if it is missing, or no such file.
    """
    from safetensors.numpy import load_file

    return _read(path, load_file)


def check(path: Path) -> None:
    """Raise `Damaged` unless the header is within its limit and the file; what it says is the library's to check."""
    with reading(), path.open("rb") as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(8)
        if len(start) < 8:
            raise Damaged("it is cut short")
        (header,) = struct.unpack("<Q", start)
        if header > min(size - 8, limits.TENSORS_HEADER_BYTES):
            raise Damaged(f"its header says that it has {header} bytes")


def _read(path: Path, load: Any) -> Any:
    from safetensors import SafetensorError

    try:
        check(path)
        with reading():
            try:
                return load(path)
            except SafetensorError as error:
                raise Damaged(str(error)) from None
    except Damaged as error:
        raise BrokenArtefact(f"{path} cannot be read as safetensors ({error})") from None
