"""A registered model of rows: it answers with the columns of the source, as JSON takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tables

from pipeline.data import columns
from pipeline.registry import serving
from pipeline.sampling.samples import open_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own, as in flow/test_registry.py
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize("conditional", [False, True])
def test_rows_come_by_column(conditional: bool, tmp_path: Path) -> None:
    import mlflow.pyfunc

    card = tables.publish(tmp_path / "model", conditional)
    serving.build(tmp_path / "model", card, conditional=conditional, target=tmp_path / "served")
    model = mlflow.pyfunc.load_model(str(tmp_path / "served"))
    asked = pd.DataFrame({"label": ["yes"] * 20} if conditional else {"n": [20]})
    frame: Any = model.predict(asked, params={"seed": 4})
    names = ["weight", "ill", "job", "age"] if conditional else ["weight", "job", "age"]
    assert list(frame) == names
    source, _ = open_model(tmp_path / "model")
    labels = source.default_labels(20) * 0 + 1 if conditional else None
    table = columns.table(source.sample(20, labels, seed=4), source.spec, labels)
    told = json.loads(frame.to_json(orient="records"))
    assert [[None if value == "" else value for value in row] for row in table] == [list(row.values()) for row in told]
    assert None in {row["age"] for row in told}
    assert model.metadata.get_output_schema().input_names() == names
