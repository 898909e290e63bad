from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.registry.addresses import redact, resolve
from pipeline.settings import UserError


def test_the_default_is_a_database_in_the_project(tmp_path: Path) -> None:
    root = tmp_path / "a b #1 50%"
    address = resolve(root, {})
    assert address.uri == f"sqlite:///{root}/mlflow.db"
    assert address.uri.startswith("sqlite:////")
    assert address.database == root / "mlflow.db"
    assert address.artifacts == (root / "mlartifacts").as_uri()


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("sqlite:///runs/m.db", "sqlite:///{root}/runs/m.db"),
        ("sqlite:////var/m.db", "sqlite:////var/m.db"),
        ("sqlite:///m.db?timeout=5", "sqlite:///{root}/m.db?timeout=5"),
        ("http://host:5000/", "http://host:5000"),
        ("postgresql+psycopg2://u:p@h/db", "postgresql+psycopg2://u:p@h/db"),
        ("  ", "sqlite:///{root}/mlflow.db"),
    ],
)
def test_paths_become_absolute(tmp_path: Path, given: str, uri: str) -> None:
    assert resolve(tmp_path, {"MLFLOW_TRACKING_URI": given}).uri == uri.format(root=tmp_path)


@pytest.mark.parametrize("given", ["mlruns", "./mlruns", "/var/mlruns", "file:///var/mlruns"])
def test_folders_are_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError, match="given up folders"):
        resolve(tmp_path, {"MLFLOW_TRACKING_URI": given})


@pytest.mark.parametrize("given", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_sqlite_in_memory_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError, match="name a file"):
        resolve(tmp_path, {"MLFLOW_TRACKING_URI": given})


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("http://ann:s3cret@host:5000", "s3cret"),
        ("https://tok3n@host/path", "tok3n"),
        ("postgresql://ann:p@ss/w@host/db", "p@ss/w"),
        ("mysql://host/db?user=ann&password=s3cret", "s3cret"),
    ],
)
def test_credentials_are_left_out(tmp_path: Path, uri: str, secret: str) -> None:
    address = resolve(tmp_path, {"MLFLOW_TRACKING_URI": uri})
    assert secret not in address.shown
    assert "host" in address.shown
    assert secret not in redact(f"cannot reach {uri}: ('{secret}' refused)", uri)


def test_credentials_of_variables_are_left_out() -> None:
    environment = {"MLFLOW_TRACKING_PASSWORD": "hunter2", "MLFLOW_TRACKING_TOKEN": "abcd"}
    assert redact("Basic hunter2, Bearer abcd", "", environment) == "Basic ***, Bearer ***"


def test_text_without_secrets_stays() -> None:
    text = "models:/toy@champion at http://host:5000/x has 3 versions"
    assert redact(text, "http://host:5000", {}) == text
