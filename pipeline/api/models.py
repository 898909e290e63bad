"""Models: opened from a folder or the registry, sampled, explored, saved."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline import plugins
from pipeline.api._pictures import as_grid
from pipeline.data import columns
from pipeline.errors import UserError
from pipeline.explorations._shared import Exploration, Findings, check_served
from pipeline.formats.model import ModelCard
from pipeline.registry import opening
from pipeline.sampling import texts
from pipeline.sampling.labels import Wording, as_indices, checked_indices, label_indices
from pipeline.sampling.samples import SampleSource
from pipeline.types import DataSpec

Name = str | int


class Model:
    """A trained generator. `source` is what explorations and scores look at, `card` what is known of its training."""

    def __init__(self, source: SampleSource, card: ModelCard, folder: Path) -> None:
        self.source = source
        self.card = card
        self.folder = folder

    @property
    def family(self) -> str:
        """The design's name."""
        return self.card.family

    @property
    def spec(self) -> DataSpec:
        """Shape, modality and classes of a sample."""
        return self.card.spec

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that can be asked for; empty where the model is unconditional."""
        return self.spec.classes if self.source.conditional else ()

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.spec.shape))
        return f"Model({self.family}, {self.spec.modality} {shape}, {self.card.examples_seen:,} examples seen)"

    def sample(
        self,
        n: int = 64,
        *,
        label: Name | Sequence[Name] | None = None,
        label_index: int | Sequence[int] | None = None,
        text: str | Sequence[str] | None = None,
        seed: int = 0,
        truncation: float = 1.0,
    ) -> NDArray[Any]:
        """Samples 0 … n - 1 of a seed. Sample i depends on seed, i, its class and the truncation alone.

        Args:
            n: how many.
            label: a class by its name, or several, in turn; by default all classes in turn. 3 is the class named "3".
            label_index: the same by index from 0.
            text: for a model that draws from words, a sentence, or several, in turn.
            seed: of the noise.
            truncation: scales the noise, or what the design has in its place; 1 is none.

        Returns:
            (n, *shape), uint8 for images, float32 in [-1, 1] for all else; rows of a table in the units of x.

        Raises:
            UserError: for classes that the model does not know, or of an unconditional model; for text where the model
                reads none, or none where it does.
        """
        return self._reading(text).sample(n, self._labels(n, label, label_index), seed, truncation)

    def table(
        self,
        n: int = 64,
        *,
        label: Name | Sequence[Name] | None = None,
        label_index: int | Sequence[int] | None = None,
        seed: int = 0,
        truncation: float = 1.0,
    ) -> pd.DataFrame:
        """`sample`, as rows of the source's table: its columns, and the class where the model is given one.

        Returns:
            A frame of n rows; a missing value is an empty text.

        Raises:
            UserError: of a model that makes no rows of a table, and as `sample`.
        """
        if not self.spec.columns:
            raise UserError(f"table: this model makes {self.spec.modality} data, and no rows of a table; take sample")
        labels = self._labels(n, label, label_index)
        if labels is None and self.classes:
            labels = self.source.default_labels(n)
        made = self.source.sample(n, labels, seed, truncation)
        names = columns.header(self.spec, labels is not None)
        return pd.DataFrame(columns.table(made, self.spec, labels), columns=names)

    def picture(
        self,
        rows: int = 8,
        columns: int = 10,
        *,
        label: Name | Sequence[Name] | None = None,
        text: str | Sequence[str] | None = None,
        seed: int = 0,
    ) -> Image.Image:
        """Samples as a grid; where classes are asked for in turn, a column is a class."""
        if self.classes and label is None:
            columns = min(columns, len(self.classes))
        labels = None if label is not None or not self.classes else list(range(columns))
        made = self.sample(rows * columns, label=label, label_index=labels, text=text, seed=seed)
        return as_grid(made, self.spec, columns)

    def explore(self, how: str, **settings: Any) -> Findings:
        """What people do with a model: `interpolation`, `projection`, … (the files of pipeline/explorations).

        Raises:
            SettingsError: for an unknown exploration or setting.
            UserError: where this design has no such thing, or it is for models of another modality.
        """
        exploration: Exploration = plugins.load("explorations", {"name": how, **settings}, "explore")
        check_served(how, exploration, self.source)
        return exploration.run(self.source)

    def save(self, folder: str | Path) -> Path:
        """Copy the card and the weights to a new folder, which `load` opens.

        Raises:
            UserError: if the folder is there already.
        """
        target = Path(folder)
        if target.exists():
            raise UserError(f"{target} is there already; name a new folder")
        target.mkdir(parents=True)
        for name in ("model.json", *self.card.files):
            shutil.copyfile(self.folder / name, target / name)
        return target

    def _reading(self, text: str | Sequence[str] | None) -> SampleSource:
        given = [text] if isinstance(text, str) else text
        texts.check_given(self.source, given, "text=")
        return self.source if given is None else texts.drawing(self.source, given)

    def _labels(
        self, n: int, label: Name | Sequence[Name] | None, label_index: int | Sequence[int] | None
    ) -> NDArray[np.int64] | None:
        if label is not None and label_index is not None:
            raise UserError("label and label_index: give classes by name or by index, not both")
        if label is None and label_index is None:
            return None
        if not self.classes:
            raise UserError(f"label: this {self.family} model is unconditional and knows no classes")
        names = _several(label)
        indices = _several(label_index)
        meant = as_indices(tuple(map(str, names)), self.classes) or ()
        wording = Wording("label", f"label_index={list(meant)}")
        chosen = label_indices(names, self.classes, wording) or checked_indices(indices, self.classes, wording)
        if not chosen:
            raise UserError("label: name at least one class")
        return np.resize(np.asarray(chosen, dtype=np.int64), n)


def load(address: str | Path) -> Model:
    """A trained model: a folder such as `artifacts/model`, `models:/NAME@champion` or `models:/NAME/VERSION`.

    A registered model is looked for in the registry of the project in or above the working directory, or where
    MLFLOW_TRACKING_URI points. Code that comes with it is not run.

    Raises:
        UserError: if there is no such model, or its weights do not fit this version of the library.
        BrokenArtefact: if a file of it is missing or changed.
    """
    scratch = tempfile.mkdtemp(prefix="zerosum-")
    try:
        found = opening.open_at(str(address), _project(Path.cwd()), Path(scratch))
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    if found.note:
        warnings.warn(found.note, stacklevel=2)
    model = Model(found.source, found.card, found.folder.absolute())
    # A registered model's files are there as long as the object is.
    weakref.finalize(model, shutil.rmtree, scratch, ignore_errors=True)
    return model


def _several(value: Name | Sequence[Name] | None) -> tuple[Name, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str | int) else tuple(value)


def _project(here: Path) -> Path:
    """The nearest folder upwards that holds dvc.yaml; the working directory where none does."""
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)
