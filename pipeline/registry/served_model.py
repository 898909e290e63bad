"""The model as MLflow serves it: this file itself is logged, and imports nothing of the project.

It runs where the repository is absent: weights are safetensors, and the code that samples is the
package that travels with them (registry/packaging.py).
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

# 1: whole numbers in the column `label` were indices of classes. 2: they are names; `label_index` holds indices.
FORMAT_VERSION = 2
# Texts that pandas' reader of CSV takes for a gap.
GAPS = frozenset({"", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"})
PARAMS = {"seed": 0, "truncation": 1.0}
LARGEST_SEED = 2**63 - 1
# As in pipeline/limits.py, which is not here: samples of a request where serving.json has no `max_rows`, and
# characters of a value of the caller's that an error repeats.
MAX_ROWS = 4096
SHOWN = 80
NUMBER = 64  # characters of JSON that a number of an image takes, at most


class ServedModel(PythonModel):
    """Samples on request; the same rows and params give the same bytes in any process."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the weights with the code they were published with.

        Raises:
            MlflowException: if the model was published in a later format, or a file has changed since.
        """
        serving: dict[str, Any] = json.loads(Path(context.artifacts["serving"]).read_text(encoding="utf-8"))
        if serving["format_version"] != FORMAT_VERSION:
            raise MlflowException.invalid_parameter_value(
                f"this model is of format {serving['format_version']}, the code beside it reads {FORMAT_VERSION}"
            )
        package: str = serving["package"]
        samples = importlib.import_module(f"{package}.sampling.samples")
        self._labels = importlib.import_module(f"{package}.sampling.labels")
        self._columns = importlib.import_module(f"{package}.data.columns")
        self._errors = importlib.import_module(f"{package}.errors")
        self._classes: list[str] = serving["classes"]
        self._conditional: bool = serving["conditional"]
        self._inputs: dict[str, list[int]] = serving.get("inputs", {})
        self._max_rows: int = serving.get("max_rows", MAX_ROWS)
        self._texts = importlib.import_module(f"{package}.sampling.texts") if serving.get("text") else None
        try:
            self._model, _ = samples.open_model(Path(context.artifacts["model"]))
        except self._errors.UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # MLflow's base is annotated to return None
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[Any]:
        """One sample a row, channels last: (n, H, W, C). Rows of a table are a frame, a missing number null in it;
        the annotation says nothing of it, since MLflow would take a union for a form to check requests against.

        A conditional model reads the column `label`, names of classes (3 and "3" are the class named "3"), or
        `label_index`, their indices. One that translates reads the column `input`, images (H, W, C) of 0 … 255 as
        nested lists or as JSON text of such lists. One that draws from words reads the column `text`, a sentence a row.
        Any other makes a sample a row, or `n` of them where that column is given.

        Raises:
            MlflowException: for an unknown label or parameter, or a value out of range.
        """
        seed, truncation = checked(as_given(params or {}, self))
        self._bounded(max(len(model_input), *(len(_column(model_input, name)) for name in ("label", "text"))))
        try:
            labels = self._requested_labels(model_input)
            count = len(labels) if labels is not None else _rows(model_input)
            count = count if self._texts is None else len(_column(model_input, "text"))
            self._bounded(count)
            if count < 1:
                how = (
                    "one row a sample" if self._conditional else "the column `n`, how many samples, or one row a sample"
                )
                raise _refused(f"nothing is asked for: give {how}")
            self._hand_in(model_input)
            source = self._model
            if self._texts is not None:
                source = self._texts.drawing(source, _column(model_input, "text"))
            made: NDArray[Any] = source.sample(count, labels, seed=seed, truncation=truncation)
        except self._errors.UserError as error:
            raise _refused(str(error)) from None
        if self._model.spec.columns:
            return cast(Any, self._frame(made, labels))
        return np.ascontiguousarray(np.moveaxis(made, 1, -1))

    def _frame(self, made: NDArray[Any], labels: NDArray[np.int64] | None) -> pd.DataFrame:
        """Rows of a table (n, F), with the columns of the source."""
        spec = self._model.spec
        names = self._columns.header(spec, labels is not None)
        frame = pd.DataFrame(self._columns.table(made, spec, labels), columns=names)
        for column in spec.columns:
            if column.masked:
                frame[column.name] = pd.to_numeric(frame[column.name].replace(self._columns.MISSING, None))
        return frame

    def _bounded(self, count: int) -> None:
        if count > self._max_rows:
            asked = str(count) if count < LARGEST_SEED else "more"
            raise _refused(
                f"{asked} samples are asked for, and a request gives {self._max_rows}: send several (with seeds of "
                "their own), or raise `max_rows` in the model's serving.json"
            )

    def _hand_in(self, model_input: pd.DataFrame) -> None:
        """What a translator is to translate: row i of the column `input` becomes sample i."""
        for name, (channels, *sides) in self._inputs.items():
            wanted = (*sides, channels)
            rows = [_image(row, wanted) for row in _column(model_input, "input")]
            if not rows or any(row is None for row in rows):
                size = "×".join(map(str, wanted))
                raise _refused(
                    f"this model translates: give the column `input`, images of {size} (channels last) from 0 to 255, "
                    "as nested lists in JSON; in CSV as the JSON text of such lists"
                )
            stacked = np.moveaxis(np.stack(cast(list[Any], rows)), -1, 1)
            self._model.inputs = lambda numbers, name=name, x=stacked: {name: x[numbers % len(x)]}

    def _requested_labels(self, model_input: pd.DataFrame) -> NDArray[np.int64] | None:
        names, indices = (_column(model_input, name) for name in ("label", "label_index"))
        if not self._conditional:
            if not all(map(_is_gap, [*names, *indices])):
                raise _refused("this model is unconditional: leave `label` out")
            return None
        # A column of gaps alone is none: the columns of a frame are of equal length.
        names, indices = (
            [] if all(map(_is_gap, column)) and other else column
            for column, other in ((names, indices), (indices, names))
        )
        if names and indices:
            raise _refused("give `label` (names of classes) or `label_index` (their indices), not both")
        if not names and not indices:
            raise _refused(
                "this model is class-conditional: give the column `label`, a class's name a row "
                f"({self._labels.listed(self._classes)}), or `label_index`, its index"
            )
        if indices:
            wording = self._labels.Wording("label_index in row {row}")
            return np.asarray(self._labels.checked_indices(indices, self._classes, wording), dtype=np.int64)
        if any(map(_is_gap, names)) and GAPS.intersection(self._classes):
            raise _refused("a label is missing; CSV reads words such as NA as missing: send them as JSON")
        wording = self._labels.Wording("label in row {row}", "{index} in the column `label_index`")
        return np.asarray(self._labels.label_indices(names, self._classes, wording), dtype=np.int64)


def as_given(params: dict[str, Any], model: PythonModel) -> dict[str, Any]:
    """The params of a call as the caller wrote them: MLflow drops what the signature lacks with a line in its log.

    A misspelt `seed` would be answered with seed 0. What was asked for is read where MLflow's own `predict` still has
    it; with an MLflow whose `predict` is another function, `params` are as they come.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is PyFuncModel.predict.__code__ and _serves(frame.f_locals["self"], model):
            given: dict[str, Any] = frame.f_locals["params"] or {}
            return {**given, **params}
        frame = frame.f_back
    return params


def _serves(outer: PyFuncModel, model: PythonModel) -> bool:
    """Whether this is MLflow's own wrapper of the model, and not of another one that calls it."""
    try:
        return outer.unwrap_python_model() is model
    except MlflowException:
        return False


def checked(params: Mapping[str, Any]) -> tuple[int, float]:
    """Seed and truncation.

    Raises:
        MlflowException: for any other parameter, or a value out of range.
    """
    unknown = sorted(set(params) - set(PARAMS))
    if unknown:
        raise _refused(f"unknown params {_shown(unknown)}; known: {sorted(PARAMS)}")
    values = {**PARAMS, **{name: value for name, value in params.items() if value is not None}}
    try:
        seed, truncation = int(values["seed"]), float(values["truncation"])
    except (TypeError, ValueError, OverflowError):
        raise _refused(f"seed and truncation must be numbers, not {_shown(values)}") from None
    if not 0 <= seed <= LARGEST_SEED:
        raise _refused(f"seed must be from 0 to {LARGEST_SEED}, not {_shown(values['seed'])}")
    if not (np.isfinite(truncation) and truncation >= 0):
        raise _refused(f"truncation must be 0 or more and finite, not {truncation}")
    return seed, truncation


def _refused(why: str) -> MlflowException:
    """What a server answers with 400."""
    return MlflowException.invalid_parameter_value(why)


def _rows(model_input: pd.DataFrame) -> int:
    """What the column `n` asks for, else a sample a row."""
    try:
        # Python's own numbers, whose sum does not overflow.
        asked = [int(number) for number in _column(model_input, "n") if not _is_gap(number)]
    except (TypeError, ValueError, OverflowError):
        raise _refused("n must be whole numbers, how many samples") from None
    if any(number < 0 for number in asked):
        raise _refused(f"n must be 0 or more, not {_shown(min(asked))}")
    return sum(asked) if asked else len(model_input)


def _image(value: Any, wanted: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Nested lists of numbers from 0 to 255 of this shape, or their JSON text, as pixels; None for anything else."""
    try:
        if isinstance(value, str):
            value = json.loads(value) if len(value) <= NUMBER * math.prod(wanted) else None
        if not (value.shape == wanted if isinstance(value, np.ndarray) else _is_nested(value, wanted)):
            return None
        numbers = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    if numbers.shape != wanted or not np.isfinite(numbers).all() or numbers.min() < 0 or numbers.max() > 255:
        return None
    return numbers.round().astype(np.uint8)


def _is_nested(value: Any, wanted: tuple[int, ...]) -> bool:
    """Whether these are lists of lists … of the expected length, checked before an array is made of them."""
    if not wanted:
        return not isinstance(value, list | tuple | dict | np.ndarray)
    if isinstance(value, np.ndarray):
        return len(value) == wanted[0] and all(_is_nested(each, wanted[1:]) for each in value)
    return (
        isinstance(value, list | tuple)
        and len(value) == wanted[0]
        and all(_is_nested(each, wanted[1:]) for each in cast(list[Any], value))
    )


def _is_gap(value: Any) -> bool:
    return not isinstance(value, list | tuple | dict | np.ndarray) and bool(pd.isna(value))


def _shown(value: Any) -> str:
    """A value of the caller's, or as much of it as fits."""
    try:
        text = str(value)
    except ValueError:  # a number of thousands of digits
        text = "such a number"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _column(model_input: pd.DataFrame, name: str) -> list[Any]:
    """A column's values; none where it is missing. MLflow puts a dict's list of texts into one row: its items."""
    values: list[Any] = list(model_input[name]) if name in model_input else []
    spread = name in ("label", "text") and len(values) == 1 and isinstance(values[0], list)
    return list(values[0]) if spread else values


set_model(ServedModel())
