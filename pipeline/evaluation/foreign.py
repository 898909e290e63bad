"""What others computed: statistics in an .npz (mu, sigma), rows in an .npy; checked, and with their source."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats import files
from pipeline.formats.moments import Gaussian
from pipeline.settings import UserError

COUNTS = ("n", "count", "n_samples", "num_samples")
# A covariance is symmetric but for what float32 rounds.
ASYMMETRY = 1e-3


def read_table(path: Path, where: str) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz, or the one of an .npy as `rows`, mapped; pickles are refused unread.

    Raises:
        UserError: if it is missing or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{where} {path}: there is no such file")
    try:
        if path.suffix == ".npy":
            return {"rows": np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files if _plain(path, name)}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{where} {path} cannot be read as NumPy's {path.suffix or 'arrays'} ({reason})") from None


def _plain(path: Path, name: str) -> bool:
    """Whether a member holds numbers or text: arrays of objects, of no use here, are left alone."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return not read(file)[2].hasobject


def read_statistics(path: Path, where: str, dimension: int | None = None) -> Gaussian:
    """The mean and covariance in an .npz, with the file's name and sha256 as their source.

    Raises:
        UserError: if they are missing, of another dimension than the extractor's, or no statistics.
    """
    found = read_table(path, where)
    if not {"mu", "sigma"} <= set(found):
        raise UserError(f"{where} {path} holds {', '.join(sorted(found)) or 'nothing'}, and not mu and sigma")
    return gaussian(found, path, where, dimension)


def gaussian(found: dict[str, NDArray[Any]], path: Path, where: str, dimension: int | None = None) -> Gaussian:
    """The same of arrays that were read already."""
    mean, covariance = (np.asarray(found[name], dtype=np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or not len(mean):
        raise UserError(f"{where} {path}: mu is {mean.shape} and sigma {covariance.shape}; (d,) and (d, d) are wanted")
    if dimension is not None and len(mean) != dimension:
        raise UserError(
            f"{where} {path} has {len(mean)} dimensions and the extractor {dimension}: they are of another extractor"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError(f"{where} {path} holds numbers that are not finite")
    scale = max(float(np.abs(covariance).max()), np.finfo(np.float64).tiny)
    if float(np.abs(covariance - covariance.T).max()) > ASYMMETRY * scale or bool((np.diag(covariance) < 0).any()):
        raise UserError(f"{where} {path}: sigma is no covariance (it must be symmetric, with no negative variance)")
    count = next((int(found[name]) for name in COUNTS if name in found and found[name].size == 1), None)
    source = str(found["source"]) if "source" in found and found["source"].ndim == 0 else path.name
    return Gaussian(mean, (covariance + covariance.T) / 2, count, source, files.sha256_file(path))
