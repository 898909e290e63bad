"""What others computed: statistics in an .npz (mu, sigma), rows in an .npy; checked, and with their source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import limits
from pipeline.contract.moments import Gaussian
from pipeline.errors import Damaged, UserError
from pipeline.storage import arrays, files

COUNTS = ("n", "count", "n_samples", "num_samples")
ABOUT = ("source", "extractor", "tap", "resize")
KNOWN = frozenset({"mu", "sigma", "features", "rows", "labels", "logits", "probabilities", *COUNTS, *ABOUT})
SHOWN = 40
NUMBERS = "fiu"  # kinds of NumPy's types
ABOUT_BYTES = 4096  # zerosum writes no longer text
# A covariance is symmetric but for what float32 rounds.
ASYMMETRY = 1e-3


def read_table(path: Path, where: str) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz that mean something here, or the one of an .npy as `rows`, mapped.

    Others are not unpacked; pickles are refused unread.

    Raises:
        UserError: if it is missing, holds nothing of these, or is damaged.
    """
    if not path.is_file():
        raise UserError(f"{where} {path}: there is no such file")
    try:
        if path.suffix == ".npy":
            return {"rows": arrays.read(path, mapped=True)}
        found, names = arrays.read_members(path, KNOWN, limits.STATISTICS_BYTES)
    except Damaged as error:
        raise UserError(f"{where} {path} cannot be read as NumPy's {path.suffix or 'arrays'} ({error})") from None
    if not found:
        shown = ", ".join(repr(name[:SHOWN])[1:-1] for name in names[:8]) or "nothing"
        raise UserError(f"{where} {path} holds {shown}, and none of {', '.join(sorted(KNOWN))}")
    return {name: array for name, array in found.items() if name not in ABOUT or array.nbytes <= ABOUT_BYTES}


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
    for name in ("mu", "sigma"):
        if found[name].dtype.kind not in NUMBERS:
            raise UserError(f"{where} {path}: {name} holds {found[name].dtype}, and numbers are wanted")
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
    with np.errstate(over="ignore"):  # of numbers near the largest
        apart = float(np.abs(covariance - covariance.T).max())
    if apart > ASYMMETRY * scale or bool((np.diag(covariance) < 0).any()):
        raise UserError(f"{where} {path}: sigma is no covariance (it must be symmetric, with no negative variance)")
    count = next((int(found[name].item()) for name in COUNTS if name in found and _is_count(found[name])), None)
    source = str(found["source"]) if "source" in found and found["source"].ndim == 0 else path.name
    return Gaussian(mean, (covariance + covariance.T) / 2, count, source, files.sha256_file(path))


def _is_count(found: NDArray[Any]) -> bool:
    return found.size == 1 and found.dtype.kind in NUMBERS and bool(np.isfinite(found).all())
