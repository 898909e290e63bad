"""One set's statistics on disk, keyed by content: what was seen once need not be seen again.

<key>/statistics.json          format, sha256 of every file; written last
<key>/moments.safetensors      count, sum and outer product, float64
<key>/features.npy             float32 (m, d): the rows that were kept, where any were
<key>/kept.npy, labels.npy     int64 (m,) and (n,)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from pipeline.contract.moments import Moments
from pipeline.errors import BrokenArtefact, Damaged
from pipeline.storage import arrays as arrays_of
from pipeline.storage import files, forms, tensors
from pipeline.storage.forms import FileName, Form, Sha256

FORMAT_VERSION = 1
CARD = "statistics.json"
MADE_BY = "scoring"


@dataclass(frozen=True)
class Seen:
    """Moments of all rows; features (m, d) of the rows `kept` (m,), if any; labels (n,), -1 = none."""

    moments: Moments
    features: NDArray[Any] | None
    kept: NDArray[np.int64] | None
    labels: NDArray[np.int64] | None


class _CardForm(Form):
    format_version: Literal[1]
    files: dict[FileName, Sha256]


def save_seen(folder: Path, seen: Seen) -> None:
    """Write the whole artefact atomically."""
    with files.replacing_folder(folder) as temporary:
        moments = {"count": np.array([seen.moments.count], dtype=np.int64)}
        save_file({**moments, "sum": seen.moments.sum, "outer": seen.moments.outer}, temporary / "moments.safetensors")
        for name in ("features", "kept", "labels"):
            array = getattr(seen, name)
            if array is not None:
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        hashes = {path.name: files.sha256_file(path) for path in sorted(temporary.iterdir())}
        files.write_json(temporary / CARD, {"format_version": FORMAT_VERSION, "files": hashes})


def load_seen(folder: Path) -> Seen:
    """The inverse; features stay on disk until they are read.

    Raises:
        BrokenArtefact: if a file is missing or changed, or of another format.
    """
    card: object = files.read_json(folder / CARD, MADE_BY)
    if not isinstance(card, dict) or cast(dict[str, Any], card).get("format_version") != FORMAT_VERSION:
        raise BrokenArtefact(f"{folder} holds no statistics of format {FORMAT_VERSION}")
    hashes = forms.check(_CardForm, cast(object, card), folder / CARD, MADE_BY).files
    for name, sha256 in hashes.items():
        files.verify(folder / name, sha256, MADE_BY)
    arrays = tensors.read_arrays(folder / "moments.safetensors")

    def array(name: str) -> NDArray[Any] | None:
        path = folder / f"{name}.npy"
        try:
            return arrays_of.read(path, mapped=True) if path.name in hashes else None
        except Damaged as error:
            raise BrokenArtefact(f"{path}: {error}") from None

    try:
        moments = Moments(int(arrays["count"][0]), arrays["sum"], arrays["outer"])
        return Seen(moments, array("features"), array("kept"), array("labels"))
    except (ValueError, KeyError, IndexError) as error:
        told = forms.printable(" ".join(str(error).split()))
        raise BrokenArtefact(f"{folder} holds statistics that cannot be read ({told})") from None
