"""What is said of a store that is not there or cannot be used, before MLflow touches it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.registry import store
from pipeline.registry.addresses import RECEIPT, SEEN, TrackingAddress, resolve
from pipeline.registry.store import opened


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def _refused(root: Path, create: bool = False) -> str:
    before = sorted(root.rglob("*"))
    with pytest.raises(UserError) as refusal, opened(root, create):
        pass
    assert sorted(root.rglob("*")) == before
    return str(refusal.value)


def _database(path: Path, *tables: str, revision: str | None = None) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (version_num)")
        if revision is not None:
            connection.execute("CREATE TABLE alembic_version (version_num)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.commit()
    return path


def test_readers_make_no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"neither {tmp_path} nor a folder above it holds a params.yaml" in _refused(tmp_path)
    (tmp_path / "params.yaml").write_text("")
    said = _refused(tmp_path)
    assert f"it would be sqlite:///{tmp_path}/mlflow.db" in said
    assert "`dvc repro`" in said
    (tmp_path / "mlflow.db").touch()  # an interrupted `sqlite3 mlflow.db` leaves it
    assert "there is no registry here" in _refused(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/other.db")
    assert f"MLFLOW_TRACKING_URI names sqlite:///{tmp_path}/runs/other.db" in _refused(tmp_path)


def test_a_registry_that_was_there_is_said_to_be_gone(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("")
    receipt = {"name": "toy", "version": 3, "run_id": "1", "aliases": [], "registry": "sqlite:///mlflow.db"}
    (tmp_path / RECEIPT).parent.mkdir(parents=True)
    (tmp_path / RECEIPT).write_text(json.dumps(receipt))
    said = _refused(tmp_path)
    assert "toy version 3" in said
    assert "zerosum register" in said
    assert "dvc repro" in said  # which finds inputs/register changed from now on
    (tmp_path / RECEIPT).write_text(json.dumps({**receipt, "registry": "http://host:5000"}))
    assert "http://host:5000" in _refused(tmp_path)
    for broken in ("", "[]", "{"):
        (tmp_path / RECEIPT).write_text(broken)
        assert "there is no registry here" in _refused(tmp_path)


def test_a_database_of_a_newer_mlflow_is_not_touched(tmp_path: Path) -> None:
    database = _database(tmp_path / "mlflow.db", "model_versions", revision="ffffffffffff")
    before = database.read_bytes()
    for create in (False, True):
        said = _refused(tmp_path, create)
        assert "was written by a newer MLflow than the one here" in said
        assert "upgrade" not in said
    assert database.read_bytes() == before


def test_a_newer_schema_on_a_server_is_known_by_what_mlflow_says() -> None:
    newer, older = ("ffffffffffff", store_revision())
    address = TrackingAddress("postgresql://ann:s3cret@host/db")
    for said in (f"(found version {newer}, but expected x)", f"Can't locate revision identified by '{newer}'"):
        assert "newer MLflow" in str(store._other_schema(address, said))
    upgrade = str(store._other_schema(address, f"(found version {older}, but expected x)"))
    assert "mlflow db upgrade" in upgrade
    assert "s3cret" not in upgrade
    assert store._other_schema(address, "no such thing") is None


def store_revision() -> str:
    from mlflow.store import db_migrations

    versions = Path(str(db_migrations.__file__)).parent / "versions"
    return min(path.name for path in versions.glob("*.py") if not path.name.startswith("_")).partition("_")[0]


def test_the_upgrade_s_line_survives_the_shell(tmp_path: Path) -> None:
    said = str(store._of_another_mlflow(resolve(tmp_path / "it's here", {}), store_revision()))
    assert f"mlflow db upgrade 'sqlite:///{tmp_path}/it'\"'\"'s here/mlflow.db'" in said


def test_what_is_no_registry_is_named(tmp_path: Path) -> None:
    _database(tmp_path / "mlflow.db", "albums")
    assert "holds no MLflow schema" in _refused(tmp_path)
    (tmp_path / "mlflow.db").write_text("words, and enough of them\n" * 100)
    assert "not a readable sqlite database" in _refused(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    (tmp_path / "mlflow.db").mkdir()
    assert "is a folder" in _refused(tmp_path)


def test_a_database_without_rights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _database(tmp_path / "mlflow.db", "model_versions")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be read and written" in _refused(tmp_path)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("database is locked\n[SQL: INSERT]", "is held by another process"),
        ("attempt to write a readonly database", "make it and its folder writable"),
        ("unable to open database file", "make it and its folder writable"),
        ("database disk image is malformed", "not a readable sqlite database"),
        ("no such column: x\n[SQL: SELECT]", "cannot be used: no such column: x"),
    ],
)
def test_what_sqlite_says_is_put_in_words(tmp_path: Path, said: str, expected: str) -> None:
    told = store._database_error(resolve(tmp_path, {}), said)
    assert expected in told
    assert "SQL:" not in told


def test_it_is_said_what_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.2)
    database = tmp_path / "mlflow.db"
    held, wanted = store._lock(database, "promoting"), store._lock(database, "registering")
    with held, pytest.raises(UserError, match="another process has held"), wanted:
        pass
    assert capsys.readouterr().err == f"registering: waiting for another process that works on {database}\n"
    with store._lock(database, "registering"):
        pass


@pytest.mark.parametrize("given", ["", "sqlite:///other.db"])
def test_a_registry_that_is_missed_makes_dvc_register_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    (tmp_path / "params.yaml").write_text("")
    seen = tmp_path / SEEN
    seen.parent.mkdir(parents=True)
    seen.write_text("{}")
    with pytest.raises(UserError), opened(tmp_path):
        pass
    assert not seen.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inputs", "params.yaml"]
