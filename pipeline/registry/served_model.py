"""The model as MLflow serves it: this file itself is logged, and imports nothing of the project.

It runs where the repository is absent: weights are safetensors, and the code that samples is the
package that travels with them (registry/packaging.py).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

FORMAT_VERSION = 1
PARAMS = {"seed": 0, "truncation": 1.0}
LARGEST_SEED = 2**63 - 1


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
        samples = importlib.import_module(f"{package}.evaluation.samples")
        self._labels = importlib.import_module(f"{package}.evaluation.labels")
        self._settings = importlib.import_module(f"{package}.settings")
        self._classes: list[str] = serving["classes"]
        self._conditional: bool = serving["conditional"]
        self._inputs: dict[str, list[int]] = serving.get("inputs", {})
        try:
            self._model, _ = samples.open_model(Path(context.artifacts["model"]))
        except self._settings.UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # MLflow's base is annotated to return None
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> NDArray[Any]:
        """One sample a row, channels last: (n, H, W, C).

        A conditional model reads the column `label`, names or indices; one that translates the column
        `input`, images (H, W, C) of 0 … 255. Any other makes a sample a row, or `n` of them where that
        column is given.

        Raises:
            MlflowException: for an unknown label or parameter, or a value out of range.
        """
        seed, truncation = checked(params or {})
        try:
            labels = self._requested_labels(model_input)
            count = len(model_input) if labels is not None else _rows(model_input)
            if count < 1:
                raise MlflowException.invalid_parameter_value("nothing is asked for: give one row a sample")
            self._hand_in(model_input)
            made: NDArray[Any] = self._model.sample(count, labels, seed=seed, truncation=truncation)
        except self._settings.UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return np.ascontiguousarray(np.moveaxis(made, 1, -1))

    def _hand_in(self, model_input: pd.DataFrame) -> None:
        """What a translator is to translate: row i of the column `input` becomes sample i."""
        for name, (channels, *sides) in self._inputs.items():
            wanted = (*sides, channels)
            rows = [np.asarray(row, dtype=np.float64) for row in _column(model_input, "input")]
            if not rows or any(row.shape != wanted or row.min() < 0 or row.max() > 255 for row in rows):
                size = "×".join(map(str, wanted))
                raise MlflowException.invalid_parameter_value(
                    f"this model translates: give the column `input`, images of {size} (channels last) from 0 to 255"
                )
            stacked = np.moveaxis(np.stack(rows).round().astype(np.uint8), -1, 1)
            self._model.inputs = lambda numbers, name=name, x=stacked: {name: x[numbers % len(x)]}

    def _requested_labels(self, model_input: pd.DataFrame) -> NDArray[np.int64] | None:
        labels = _column(model_input, "label")
        if not self._conditional:
            if any(not pd.isna(label) for label in labels):
                raise MlflowException.invalid_parameter_value("this model is unconditional: leave `label` out")
            return None
        if not labels and len(model_input):
            raise MlflowException.invalid_parameter_value("this model is class-conditional: give the column `label`")
        found: list[int] = self._labels.label_indices(labels, self._classes)
        return np.asarray(found, dtype=np.int64)


def checked(params: Mapping[str, Any]) -> tuple[int, float]:
    """Seed and truncation.

    Raises:
        MlflowException: for any other parameter, or a value out of range.
    """
    unknown = sorted(set(params) - set(PARAMS))
    if unknown:
        raise MlflowException.invalid_parameter_value(f"unknown params {unknown}; known: {sorted(PARAMS)}")
    values = {**PARAMS, **params}
    seed, truncation = int(values["seed"]), float(values["truncation"])
    if not 0 <= seed <= LARGEST_SEED:
        raise MlflowException.invalid_parameter_value(f"seed must be from 0 to {LARGEST_SEED}, not {seed}")
    if not (np.isfinite(truncation) and truncation >= 0):
        raise MlflowException.invalid_parameter_value(f"truncation must be 0 or more and finite, not {truncation}")
    return seed, truncation


def _rows(model_input: pd.DataFrame) -> int:
    """What the column `n` asks for, else a sample a row."""
    asked = [number for number in _column(model_input, "n") if not pd.isna(number)]
    return sum(int(number) for number in asked) if asked else len(model_input)


def _column(model_input: pd.DataFrame, name: str) -> list[Any]:
    """A column's values; none where it is missing."""
    return list(model_input[name]) if name in model_input else []


set_model(ServedModel())
