"""`zerosum generate`: samples of a registered or local model as PNG files and a grid."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.cli import project
from pipeline.evaluation.labels import label_indices
from pipeline.formats import files
from pipeline.settings import UserError

REGISTERED = "models:/"
GRID = "grid.png"
COLUMNS = 8

Pixels = NDArray[np.uint8]
Draw = Callable[[int, "list[int] | None", "Request"], Pixels]


@dataclass(frozen=True)
class Request:
    """What to draw: labels as people write them; none of them means every class in turn."""

    seed: int
    truncation: float
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """What a call left: the grid, and how many samples of an earlier call lie beside its own."""

    grid: Path
    older: int


@dataclass(frozen=True)
class Source:
    """An open model: its classes, empty where it is unconditional, and how it draws (n, H, W, C) or sound (n, T, C)."""

    classes: tuple[str, ...]
    draw: Draw
    rate: int | None = None


def generate(model: str, out: Path, n: int, request: Request) -> Written:
    """Write `00000.png` … (sound: `00000.wav` …) and the grid to `out`; the same request gives the same bytes.

    Raises:
        UserError: if the model cannot be opened, draws no images, or the labels are not its own.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")
    made, rate = _draw(model, n, request)
    from pipeline.evaluation import gallery, pictures

    x = np.moveaxis(made, -1, 1)
    if made.ndim == 3:  # sound, (n, T, C)
        written = {f"{index:05d}.wav": pictures.wav(each, rate) for index, each in enumerate(x)}
        x = np.stack([pictures.spectrogram(each) for each in x])
    else:
        written = {f"{index:05d}.png": gallery.png(image) for index, image in enumerate(made)}
    written[GRID] = gallery.grid(x, _columns(n))
    try:
        for name, data in written.items():
            files.write_bytes(out / name, data)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from None
    earlier = [file for file in out.iterdir() if re.fullmatch(r"\d{5,}\.(png|wav)", file.name)]
    return Written(out / GRID, len(earlier) - n)


def _draw(model: str, n: int, request: Request) -> tuple[Pixels, int | None]:
    """The samples, and the rate of sound."""
    if model.startswith(REGISTERED):
        from pipeline.registry.store import opened

        with opened(project.root()):
            return _checked(_registered(model), n, request)
    return _checked(_local(Path(model)), n, request)


def _checked(source: Source, n: int, request: Request) -> tuple[Pixels, int | None]:
    if request.labels and not source.classes:
        raise UserError("--label: this model is unconditional and knows no classes")
    labels = None
    if source.classes:
        chosen = label_indices(request.labels, source.classes) or list(range(len(source.classes)))
        labels = [chosen[index % len(chosen)] for index in range(n)]
    images = source.draw(n, labels, request)
    if images.ndim != 3 and (images.ndim != 4 or images.shape[-1] not in {1, 3, 4}):
        raise UserError(f"samples of shape {images.shape[1:]} are no pictures; PNG takes 1, 3 or 4 channels")
    return images, source.rate


def _registered(uri: str) -> Source:
    from pipeline.registry import serving

    served = serving.load(uri)

    def draw(n: int, labels: list[int] | None, request: Request) -> Pixels:
        return served.sample(n, labels, request.seed, request.truncation)

    return Source(served.classes, draw, served.rate)


def _local(folder: Path) -> Source:
    from pipeline.evaluation.samples import open_model

    if not folder.is_dir():
        raise UserError(f"--model {folder} is neither a folder nor a registered model ({REGISTERED}NAME@ALIAS)")
    generator, card = open_model(folder)

    def draw(n: int, labels: list[int] | None, request: Request) -> Pixels:
        asked = None if labels is None else np.asarray(labels, dtype=np.int64)
        made = generator.sample(n, asked, seed=request.seed, truncation=request.truncation)
        return np.moveaxis(made, 1, -1)

    return Source(card.spec.classes if generator.conditional else (), draw, card.spec.rate)


def _columns(n: int) -> int:
    """As square as a picture of `n` gets, and never narrower than its share of a row of eight."""
    return max(min(n, COLUMNS), round(n**0.5))
