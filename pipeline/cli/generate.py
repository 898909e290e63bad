"""`zerosum generate`: samples of a registered or local model as files in a folder, and a grid of pictures beside it.

Images are PNG files, sounds wav files, volumes npz and obj files, clips animated WebP; rows of a table are one csv with
the columns of the source.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.cli import project
from pipeline.data import columns
from pipeline.data.sentences import of_file
from pipeline.errors import UserError
from pipeline.sampling.labels import Wording, as_indices, checked_indices, label_indices
from pipeline.storage import files, tables
from pipeline.types import Array, DataSpec, Modality

if TYPE_CHECKING:
    from pipeline.sampling.samples import SampleSource

REGISTERED = "models:/"
ADVICE = ": --trust-code runs that instead, with all your rights, so use it for models of people you trust"
EXPLORED = "explore.json"
CAPTIONS = "captions.csv"
OLD_GRID = "grid.png"
SAMPLE = re.compile(r"\d{5,}\.(png|wav|npz|webp)")
COLUMNS = 8
TABLE = "samples.csv"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Rows:
    """Rows of a table, with the names of their columns."""

    names: Sequence[str]
    rows: Sequence[Sequence[object]]


Draw = Callable[[int, "list[int] | None", "SampleRequest"], Pixels | Rows]


@dataclass(frozen=True)
class SampleRequest:
    """What to draw: labels are names of classes, indices their positions; none of either means every class in turn.

    texts: sentences, in turn, for a model that draws from words; None: none are given.
    """

    seed: int
    truncation: float
    labels: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()
    texts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Written:
    """What a call left.

    grid: of all samples, None where none was wanted. older: samples of an earlier call beside this one's. stray: a
    grid that an earlier version left among the samples. note: what else a person should be told.
    """

    grid: Path | None
    older: int
    stray: Path | None = None
    note: str = ""


@dataclass(frozen=True)
class Source:
    """An open model: its classes, empty where it is unconditional, and how it draws samples, channels last."""

    classes: tuple[str, ...]
    draw: Draw
    modality: Modality = "image"
    rate: int | None = None


@dataclass(frozen=True)
class SamplesDrawn:
    """Samples (n, C, …), what they are, and the rate of sound."""

    x: Array
    modality: Modality
    rate: int | None


def generate(
    model: str,
    out: Path,
    n: int,
    request: SampleRequest,
    grid: Path | None = None,
    *,
    with_grid: bool = True,
    trust_code: bool = False,
) -> Written:
    """Write `00000.png` … to `out` and a grid of them beside it; equal requests, equal bytes.

    Sound is written as `00000.wav` …, voxels as `00000.npz` and `00000.obj`, video as animated `00000.webp`.

    Of a model that draws from words, `captions.csv` in `out` says which sentence each is of.

    Rows of a table are written as `samples.csv`, without a grid.

    grid: where the grid goes instead, a PNG file outside `out`. trust_code: draw by the code that travels with a
    registered model, not by the code here.

    Raises:
        UserError: if the model cannot be opened, draws no images, or the labels are not its own.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a folder")
    if not math.isfinite(request.truncation):
        raise UserError(f"--truncation {request.truncation} must be a finite number")
    if (out / EXPLORED).is_file():
        raise UserError(f"--out {out} holds pictures of `zerosum explore`, which are no samples; name another folder")
    place = grid_place(out, grid) if with_grid else None
    if trust_code and not model.startswith(REGISTERED):
        raise UserError(f"--trust-code: --model {model} is a folder of weights, and holds no code")
    drawn, note = _draw(model, n, request, trust_code)
    if isinstance(drawn, Rows):
        return _write_rows(drawn, out, grid, note)
    from pipeline.reporting import gallery
    from pipeline.sampling import pictures

    written: dict[str, bytes] = {}
    for index, x in enumerate(drawn.x):
        image = drawn.modality == "image"
        held = (
            {".png": gallery.png(np.moveaxis(x, 0, -1))} if image else pictures.as_files(x, drawn.modality, drawn.rate)
        )
        written |= {f"{index:05d}{end}": data for end, data in held.items()}
    if place is not None:
        dtype = "uint8" if drawn.x.dtype == np.uint8 else "float32"
        shown = pictures.as_images(drawn.x, DataSpec(drawn.modality, drawn.x.shape[1:], (), dtype))
        try:
            files.write_bytes(place, gallery.grid(shown, _columns(n)))
        except OSError as error:
            raise UserError(
                f"the grid {place} cannot be written ({error.strerror}); name another place with --grid, or leave it "
                "out with --no-grid"
            ) from None
    try:
        for name, data in written.items():
            files.write_bytes(out / name, data)
        if request.texts:
            rows = [(name, request.texts[index % len(request.texts)]) for index, name in enumerate(written)]
            tables.write(out / CAPTIONS, ("file", "caption"), rows)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from None
    earlier = [file for file in out.iterdir() if SAMPLE.fullmatch(file.name)]
    stray = out / OLD_GRID
    return Written(place, len(earlier) - n, stray if stray.is_file() else None, note)


def sentences(given: Sequence[str] | None, file: Path | None) -> tuple[str, ...] | None:
    """The sentences of the command line, or of a file; None where neither is given.

    Raises:
        UserError: for both, or a file that cannot be read, is too large, is no UTF-8, or holds none.
    """
    if file is None:
        return None if given is None else tuple(given)
    if given:
        raise UserError("--text and --texts: give one of them")
    return of_file(file, "--texts")


def _write_rows(made: Rows, out: Path, grid: Path | None, note: str) -> Written:
    if grid is not None:
        raise UserError("--grid: rows of a table have no grid; leave it out")
    try:
        tables.write(out / TABLE, made.names, made.rows)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from None
    return Written(None, 0, None, note)


def grid_place(out: Path, asked: Path | None) -> Path:
    """Where the grid goes: beside the folder, since whatever reads the folder takes each picture in it for a sample.

    Raises:
        UserError: if that is no PNG file outside the folder.
    """
    # `.` and `x/..` have a name only by their whole path; any other folder is taken as it was named, links included.
    folder = out.resolve() if out.name in {"", ".."} else out.absolute()
    if asked is None:
        if not folder.name:
            raise UserError(f"--out {out} has nothing beside it for the grid; name a place with --grid, or --no-grid")
        return folder.with_name(f"{folder.name}-grid.png")
    if asked.suffix.lower() != ".png":
        raise UserError(f"--grid {asked} must be the name of a PNG file, such as {asked.with_suffix('.png').name}")
    if asked.is_dir():
        raise UserError(f"--grid {asked} is a folder; name a file")
    if asked.resolve().is_relative_to(out.resolve()):
        raise UserError(
            f"--grid {asked} lies among the samples, and would be taken for one; name a place outside {out}, or leave "
            "--grid out: the grid is then written beside the folder"
        )
    return asked.absolute()


def _draw(model: str, n: int, request: SampleRequest, trust_code: bool) -> tuple[SamplesDrawn | Rows, str]:
    """The samples, and what a person should be told."""
    from pipeline.registry import opening
    from pipeline.registry.store import opened

    root = project.root() if model.startswith(REGISTERED) else Path()
    if trust_code:
        with opened(root):
            return _checked(_by_its_code(model), n, request), ""
    with tempfile.TemporaryDirectory(prefix="zerosum-") as name:
        found = opening.open_at(model, root, Path(name), "--model", ADVICE)
        return _checked(_here(found.source), n, request), f"note: {found.note}" if found.note else ""


def _checked(source: Source, n: int, request: SampleRequest) -> SamplesDrawn | Rows:
    asked = "--label" if request.labels else "--label-index"
    if request.labels and request.indices:
        raise UserError("--label and --label-index: give classes by name or by index, not both")
    if (request.labels or request.indices) and not source.classes:
        raise UserError(f"{asked}: this model is unconditional and knows no classes")
    labels = None
    if source.classes:
        meant = as_indices(request.labels, source.classes) or ()
        wording = Wording(asked, " ".join(f"--label-index {index}" for index in meant))
        chosen = (
            label_indices(request.labels, source.classes, wording)
            or checked_indices(request.indices, source.classes, wording)
            or list(range(len(source.classes)))
        )
        labels = [chosen[index % len(chosen)] for index in range(n)]
    made = source.draw(n, labels, request)
    if isinstance(made, Rows):
        return made
    if source.modality == "rows" or (source.modality in ("image", "video") and made.shape[-1] not in {1, 3, 4}):
        raise UserError(f"samples of shape {made.shape[1:]} are no pictures; PNG takes 1, 3 or 4 channels")
    return SamplesDrawn(np.moveaxis(made, -1, 1), source.modality, source.rate)


def _by_its_code(uri: str) -> Source:
    from pipeline.registry import serving

    served = serving.load(uri)

    def draw(n: int, labels: list[int] | None, request: SampleRequest) -> Pixels | Rows:
        made = served.sample(n, labels, request.seed, request.truncation, request.texts)
        if not served.columns:
            return made
        names = [str(name) for name in made]
        held = made.astype(object).where(made.notna(), columns.MISSING).to_numpy().tolist()
        return Rows(names, columns.written(held, names, served.columns))

    return Source(served.classes, draw, served.modality, served.rate)


def _here(generator: SampleSource) -> Source:
    """A model opened by the code here."""
    from pipeline.sampling import texts

    def draw(n: int, labels: list[int] | None, request: SampleRequest) -> Pixels | Rows:
        asked = None if labels is None else np.asarray(labels, dtype=np.int64)
        texts.check_given(generator, request.texts, "--text, or --texts")
        source = generator if request.texts is None else texts.drawing(generator, request.texts, "--text")
        made = source.sample(n, asked, seed=request.seed, truncation=request.truncation)
        spec = generator.spec
        if spec.columns:
            names = columns.header(spec, asked is not None)
            return Rows(names, columns.written(columns.table(made, spec, asked), names, spec.columns))
        return np.moveaxis(made, 1, -1)

    spec = generator.spec
    return Source(spec.classes if generator.conditional else (), draw, spec.modality, spec.rate)


def _columns(n: int) -> int:
    """As square as a picture of `n` gets, and never narrower than its share of a row of eight."""
    return max(min(n, COLUMNS), round(n**0.5))
