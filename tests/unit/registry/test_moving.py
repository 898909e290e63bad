from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.registry import moving

COLUMNS = {
    "experiments": ("experiment_id", "name", "artifact_location"),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
    "trace_tags": ("key", "value"),
    "tags": ("key", "value"),
}


def _made(database: Path, home: str, first: str | None = None) -> None:
    """The tables that hold addresses, with rows of a project at `home`."""
    rows: dict[str, list[tuple[object, ...]]] = {
        "experiments": [(0, "Default", first or f"{home}/0"), (1, "my runs: a", f"{home}/my runs_ a")],
        "runs": [(f"{home}/e/1/artifacts",), (f"{home}2/e/1",), ("mlflow-artifacts:/1",), (None,)],
        "logged_models": [(f"{home}/e/models/m-1/artifacts",)],
        "model_versions": [("models:/m-1", f"{home}/e/models/m-1/artifacts"), (f"{home}/e/x", home)],
        "trace_tags": [("mlflow.artifactLocation", f"{home}/e/traces/1")],
        "tags": [("note", f"{home}/e")],
    }
    with closing(sqlite3.connect(database)) as connection:
        for table, columns in COLUMNS.items():
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows[table])
        connection.commit()


def _read(database: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()


@pytest.mark.parametrize("name", ["old", "100%_[x] 'y'", "é"])
def test_every_address_below_the_old_home_follows_and_nothing_else(tmp_path: Path, name: str) -> None:
    database = tmp_path / "mlflow.db"
    old, new = ((tmp_path / place / "mlartifacts").as_uri() for place in (name, "new place"))
    _made(database, old)
    assert moving.home(database) == old
    assert moving.follow(database, new) == str(tmp_path / name / "mlartifacts")
    assert _read(database, "experiments") == [(0, "Default", f"{new}/0"), (1, "my runs: a", f"{new}/my runs_ a")]
    assert _read(database, "runs") == [(f"{new}/e/1/artifacts",), (f"{old}2/e/1",), ("mlflow-artifacts:/1",), (None,)]
    assert _read(database, "logged_models") == [(f"{new}/e/models/m-1/artifacts",)]
    assert _read(database, "model_versions") == [("models:/m-1", f"{new}/e/models/m-1/artifacts"), (f"{new}/e/x", new)]
    assert _read(database, "trace_tags") == [("mlflow.artifactLocation", f"{new}/e/traces/1")]
    assert _read(database, "tags") == [("note", f"{old}/e")]
    before = database.read_bytes()
    assert moving.follow(database, new) is None
    assert database.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db"}


def test_a_server_s_database_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    _made(database, "mlflow-artifacts:")
    before = database.read_bytes()
    assert moving.home(database) is None
    assert moving.follow(database, "file:///new/mlartifacts") is None
    assert database.read_bytes() == before


def test_our_experiments_in_a_database_that_a_server_made_follow(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    _made(database, "file:///old/mlartifacts", first="mlflow-artifacts:/0")
    assert moving.follow(database, "file:///new/mlartifacts") == "/old/mlartifacts"
    rows = _read(database, "experiments")
    assert [row[2] for row in rows] == ["mlflow-artifacts:/0", "file:///new/mlartifacts/my runs_ a"]


def test_a_database_that_speaks_of_this_place_may_hold_others(tmp_path: Path) -> None:
    """A person may give an experiment a place of its own."""
    database = tmp_path / "mlflow.db"
    _made(database, "file:///nas/mlartifacts", first="file:///here/mlartifacts/0")
    before = database.read_bytes()
    assert moving.follow(database, "file:///here/mlartifacts") is None
    assert database.read_bytes() == before


def test_a_database_that_cannot_be_written_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "mlflow.db"
    _made(database, "file:///old/mlartifacts")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TRIGGER refuse BEFORE UPDATE ON trace_tags BEGIN SELECT RAISE(ABORT, 'no'); END")
        connection.commit()
    rows = {table: _read(database, table) for table in COLUMNS}
    with pytest.raises(sqlite3.Error, match="no"):
        moving.follow(database, "file:///new/mlartifacts")
    assert {table: _read(database, table) for table in COLUMNS} == rows
