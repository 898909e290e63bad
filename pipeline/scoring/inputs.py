"""What can be scored: image folders, shards, models, references, ready features, statistics; opened and described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.extractor import Examples
from pipeline.contract.moments import Gaussian
from pipeline.contract.predictions import Predictions, are_probabilities
from pipeline.data.source import USUAL, Limits
from pipeline.errors import UserError
from pipeline.formats.model import ModelCard
from pipeline.formats.reference import Reference
from pipeline.randomness import choose, shuffled
from pipeline.sampling.labels import renumbering
from pipeline.sampling.samples import SampleSource, open_model
from pipeline.scoring.extract import SampleExamples, ShardExamples
from pipeline.scoring.folders import ImageFolder, open_folder
from pipeline.scoring.in_training import asked
from pipeline.scoring.precomputed import gaussian, read_table
from pipeline.scoring.sizes import Resized, Size, written
from pipeline.settings import home
from pipeline.storage import files

REGISTERED = "models:/"
KINDS = "a folder of images or shards, a model, a reference, statistics (.npz) or features (.npy)"
# What other commands leave beside pictures that are no samples.
NO_SAMPLES = {"explore.json": "pictures of `zerosum explore`, grids", "scores.json": "a report, charts and grids"}
PREDICTED = ("probabilities", "logits")

Split = Literal["train", "holdout"]


@dataclass(frozen=True)
class ImageSet:
    """Examples that an extractor has to see.

    content: what they are known by. labels (n,): indices into the classes of their spec, -1 = none. said: what a record
    must say of them. size: what they are brought to, None where they are as they came.
    """

    name: str
    examples: Examples
    content: str
    labels: NDArray[np.int64] | None = None
    split: Split | None = None
    holdout: Examples | None = None
    said: tuple[str, ...] = ()
    size: Size | None = None

    @property
    def shapes(self) -> set[tuple[int, ...]]:
        """Every shape that occurs."""
        return _shapes(self.examples)


@dataclass(frozen=True)
class ModelInput:
    """A generator, to be sampled once it is known how many samples are wanted."""

    name: str
    folder: Path
    source: SampleSource
    card: ModelCard


@dataclass(frozen=True)
class GivenFeatures:
    """Rows that someone else extracted (n, d), and what the same file holds of labels and predictions.

    labels (n,): indices of classes, whose names such a file does not tell; -1 = none.
    """

    name: str
    rows: NDArray[Any] | None
    content: str
    labels: NDArray[np.int64] | None = None
    predicted: NDArray[Any] | None = None
    probabilities: bool = False


@dataclass(frozen=True)
class GivenStatistics:
    """Statistics without rows. about: what the file says of its extractor."""

    name: str
    gaussian: Gaussian
    about: dict[str, str]


@dataclass(frozen=True)
class ReferenceSplit:
    """A reference artefact: reals that were seen already, and who saw them."""

    name: str
    reference: Reference
    split: Split


Input = ImageSet | ModelInput | GivenFeatures | GivenStatistics | ReferenceSplit


@dataclass(frozen=True)
class Opening:
    """How inputs are opened: the registry's way to a model's folder, progress, whether to skip broken images.

    limits: of one image.
    """

    fetch: Callable[[str], Path]
    progress: Callable[[str], Callable[[int, int], None]]
    skip_broken: bool = False
    threads: int = 1
    limits: Limits = USUAL


def open_input(where: str, address: str, opening: Opening) -> Input:
    """What `address` names; `where` is the option's name, for messages.

    Raises:
        UserError: if it is nothing that can be scored.
    """
    if address.startswith(REGISTERED):
        return _model(address, opening.fetch(address), opening)
    path, split = _path(address)
    if path.is_file():
        if path.suffix not in {".npy", ".npz"}:
            raise UserError(f"{where} {path} is a {path.suffix or 'plain'} file; give {KINDS}")
        return _arrays(path, where)
    if not path.is_dir():
        raise UserError(f"{where} {address}: there is no such file or folder; give {KINDS}")
    if (path / "manifest.json").is_file():
        return _shards(path, split or "train")
    if (path / "reference.json").is_file():
        return ReferenceSplit(str(path), Reference.load(path), split or "train")
    if (path / "model.json").is_file():
        return _model(address, path, opening)
    for name, what in NO_SAMPLES.items():
        if (path / name).is_file():
            raise UserError(f"{where} {path} holds {what}, and those are no samples")
    progress = opening.progress(f"reading {path.name}")
    folder, said = open_folder(path, where, progress, opening.skip_broken, opening.limits)
    if len(folder.sizes) > 1:
        sides = sorted({f"{height}×{width}" for _, height, width in folder.sizes})
        what = (
            f"{len(sides)} sizes ({sides[0]}, {sides[1]}{', …' if len(sides) > 2 else ''})"
            if len(sides) > 1
            else "unlike channels"
        )
        said.append(f"{where} holds images of {what}: each is resized by itself")
    labels = folder.labels if folder.spec.classes else None
    return ImageSet(str(path), folder, folder.sha256, labels, said=tuple(said))


def _path(address: str) -> tuple[Path, Split | None]:
    """`folder:holdout` names a split of shards or of a reference."""
    for split in ("train", "holdout"):
        folder = Path(home(address.removesuffix(f":{split}")))
        if address.endswith(f":{split}") and folder.is_dir():
            return folder, split
    return Path(home(address)), None


def _shards(path: Path, split: Split) -> ImageSet:
    examples = ShardExamples(path, split)
    other = ShardExamples(path, "holdout") if split == "train" else None
    labels = examples.labels
    return ImageSet(f"{path}:{split}", examples, f"{examples.manifest_sha256}:{split}", labels, split, other)


def _model(address: str, folder: Path, opening: Opening) -> ModelInput:
    source, card = open_model(folder, threads=opening.threads)
    return ModelInput(address, folder, source, card)


def _arrays(path: Path, where: str) -> GivenFeatures | GivenStatistics:
    found, name = read_table(path, where), str(path)
    if {"mu", "sigma"} <= set(found):
        about = {key: str(found[key]) for key in ("extractor", "tap", "resize") if key in found}
        return GivenStatistics(name, gaussian(found, path, where), about)
    predicted = next((key for key in PREDICTED if key in found), None)
    rows = next((found[key] for key in ("rows", "features") if key in found), None)
    if rows is None and predicted is None:
        raise UserError(
            f"{where} {path} holds {', '.join(sorted(found)) or 'nothing'}; an .npz is scored for mu and sigma, "
            "for features, or for logits or probabilities"
        )
    tables = [table for table in (rows, found[predicted] if predicted else None) if table is not None]
    for table in tables:
        _check_table(table, path, where)
    if len({len(table) for table in tables}) > 1:
        raise UserError(f"{where} {path} holds {' and '.join(str(len(table)) for table in tables)} rows in its tables")
    first = rows if rows is not None else found[predicted or ""]
    return GivenFeatures(
        name,
        rows,
        files.sha256_file(path),
        _labels(found["labels"], len(first), path, where) if "labels" in found else None,
        found[predicted] if predicted else None,
        predicted == "probabilities",
    )


def _check_table(table: NDArray[Any], path: Path, where: str) -> None:
    if table.ndim != 2 or table.dtype.kind not in "fiu" or 0 in table.shape:
        raise UserError(f"{where} {path} holds {table.dtype} {table.shape}; rows of numbers (n, d) are wanted")
    for begin in range(0, len(table), 4096):
        if not np.isfinite(table[begin : begin + 4096]).all():
            raise UserError(f"{where} {path} holds numbers that are not finite")


def _labels(found: NDArray[Any], count: int, path: Path, where: str) -> NDArray[np.int64]:
    """`labels` of an .npz, (count,): indices of classes by definition.

    Raises:
        UserError: for names, fractions, or labels of another number than rows.
    """
    whole = found.dtype.kind in "iu" or (found.dtype.kind == "f" and bool((found == np.round(found)).all()))
    if found.ndim != 1 or len(found) != count or not whole or (count and found.min() < -1):
        raise UserError(
            f"{where} {path}: labels are {found.dtype} {found.shape}; the index of each row's class is wanted, whole "
            f"numbers ({count},), -1 where a row has none"
        )
    return found.astype(np.int64)


def predictions(ready: GivenFeatures, splits: int, shuffle: int | None = None) -> Predictions:
    """The class predictions of a file: its own table of them, or else its rows.

    shuffle: a seed, by which the parts are cut from a shuffled order; None = as they come.
    """
    table, probabilities = ready.predicted, ready.probabilities
    if table is None:
        assert ready.rows is not None  # one of the two is there
        table, probabilities = ready.rows, are_probabilities(ready.rows)
    # Parts alone are shuffled: what each row is recognised as stays beside its label.
    order = None if shuffle is None else np.argsort(shuffled(len(table), shuffle, "inception_score/order"))
    return Predictions.of(table, min(splits, len(table)), probabilities=probabilities, order=order)


def sampled(model: ModelInput, count: int, seed: int, truncation: float, reals: Like | None) -> ImageSet:
    """`count` samples of the model; of classes as frequent as among the reals, or else balanced."""
    source, card = model.source, model.card
    if source.conditional and reals is not None:
        # In an order that the reals decide, so that a model which numbers them otherwise draws the same.
        labels = reals.numbering[asked(reals.labels, source, seed, count)]
    elif source.conditional and count < len(card.spec.classes):
        # In turn they would be the first classes alone, which differ from the rest.
        labels = choose(len(card.spec.classes), count, seed, "score/classes")
    else:
        labels = source.default_labels(count)
    examples = SampleExamples(
        model.folder, labels, seed, truncation, source.threads, weights_sha256=card.weights_sha256
    )
    content = files.sha256_json({"weights": card.weights_sha256, "seed": seed, "n": count, "truncation": truncation})
    return ImageSet(model.name, examples, content, labels if source.conditional else None)


@dataclass(frozen=True)
class Like:
    """The classes that a model is to draw: labels (n,) of the reals, and the model's index of each of their classes."""

    labels: NDArray[np.int64]
    numbering: NDArray[np.int64]


def like(reals: ImageSet | ReferenceSplit, own: Sequence[str]) -> Like | None:
    """The reals for a model of the classes `own`, by name; None where one of them has no label or another class."""
    names, labels = classes(reals), labels_of(reals)
    if names is None or labels is None or (labels < 0).any():
        return None
    numbering = renumbering(names, own)
    return None if (numbering[labels] < 0).any() else Like(labels, numbering)


def aligned(fake: Input, real: Input | None) -> Input:
    """The samples, labelled as the reals number their classes: by name, -1 for a class that the reals don't have."""
    mine, others = classes(fake), classes(real)
    if not isinstance(fake, ImageSet) or fake.labels is None or mine is None or others is None or mine == others:
        return fake
    return replace(fake, labels=np.where(fake.labels < 0, -1, renumbering(mine, others)[fake.labels]))


def classes(side: Input | None) -> tuple[str, ...] | None:
    """The names of its classes, where it has any."""
    if isinstance(side, ImageSet):
        return side.examples.spec.classes or None
    return side.reference.card.spec.classes or None if isinstance(side, ReferenceSplit) else None


def labels_of(side: Input | None) -> NDArray[np.int64] | None:
    """Each row's class (n,), where they are known."""
    if isinstance(side, ImageSet | GivenFeatures):
        return side.labels
    return side.reference.labels(side.split) if isinstance(side, ReferenceSplit) else None


# --- of one size ----------------------------------------------------------------------------------


def of_size(side: Input | None, size: Size, where: str) -> Input | None:
    """Images brought to one size; what was seen already has to be of it.

    Raises:
        UserError: for what is no image, or a reference of another size.
    """
    if isinstance(side, ReferenceSplit) and side.reference.card.spec.resolution != size:
        own = side.reference.card.spec.resolution
        raise UserError(
            f"{where} {side.name} was measured of examples of {'×'.join(map(str, own))}; "
            + (f"take --size {written(own)}" if len(own) == 2 else "leave --size out")
        )
    if not isinstance(side, ImageSet):
        return side
    spec = side.examples.spec
    if spec.modality != "image" or spec.dtype != "uint8":
        raise UserError(f"--size: {side.name} holds {spec.modality} of {spec.dtype}, and images are resized")
    holdout = None if side.holdout is None else Resized(side.holdout, size)
    return replace(side, examples=Resized(side.examples, size), holdout=holdout, size=size)


def _shapes(examples: Examples) -> set[tuple[int, ...]]:
    if isinstance(examples, Resized):
        return {(shape[0], *examples.size) for shape in _shapes(examples.whole)}
    if isinstance(examples, Chosen):
        return _shapes(examples.whole)
    return set(examples.shapes) if isinstance(examples, ImageFolder) else {examples.spec.shape}


# --- fewer of them --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some rows of a set, in their order."""

    whole: Examples
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def spec(self) -> Any:
        return self.whole.spec

    def examples(self, indices: NDArray[np.int64]) -> Any:
        return self.whole.examples(self.indices[indices])


def size(found: ImageSet | GivenFeatures) -> int:
    """How many examples, or rows, there are."""
    if isinstance(found, ImageSet):
        return len(found.examples)
    table = found.predicted if found.rows is None else found.rows
    return 0 if table is None else len(table)


def limited(found: ImageSet | GivenFeatures, n: int | None, seed: int) -> ImageSet | GivenFeatures:
    """At most `n` of a set, chosen by the seed."""
    total = size(found)
    if n is None or n >= total:
        return found
    index = choose(total, n, seed, "score/chosen")
    content = files.sha256_json({"content": found.content, "n": n, "seed": seed})
    labels = None if found.labels is None else found.labels[index]
    if isinstance(found, ImageSet):
        return replace(found, examples=Chosen(found.examples, index), content=content, labels=labels)
    rows, predicted = (None if table is None else table[index] for table in (found.rows, found.predicted))
    return GivenFeatures(found.name, rows, content, labels, predicted, found.probabilities)
