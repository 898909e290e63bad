"""An embedded store whose project was moved or copied: the addresses it holds follow it.

MLflow writes absolute `file://` addresses of artefacts into the database. Left as they are, a moved project would read
from, and write to, the place that it has left.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from pipeline.registry.addresses import plain

FOLDER = "mlartifacts"
ADDRESSES = frozenset(
    {
        "artifact_location",  # experiments, logged_models
        "artifact_uri",  # runs
        "default_artifact_root",  # workspaces
        "source",  # model_versions
        "storage_location",  # model_versions
        "trace_archival_location",  # workspaces
    }
)
TRACES = "trace_tags"  # a trace's address is the value of a tag
BUSY_SECONDS = 30.0


def home(database: Path) -> str | None:
    """The file URI of the artefacts' folder that the database speaks of; None where we did not make it.

    That of the default experiment as we make it. Where `mlflow server` made the database, those of our own experiments
    tell, if all of them speak of one folder.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as connection:
        return _home(connection)


def follow(database: Path, now: str) -> str | None:
    """Rewrite every address below the former home to `now`, all or none; returns the former home's path.

    None where nothing had to be done. Call it under the store's lock.

    Raises:
        sqlite3.Error: if the database cannot be written.
    """
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = _home(connection)
            if before is None or before == now:
                connection.execute("ROLLBACK")
                return None
            for table, column in _addresses(connection):
                connection.execute(
                    f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) '
                    f'WHERE "{column}" = ? OR substr("{column}", 1, ?) = ?',
                    (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return unquote(before.removeprefix("file://"))


def _home(connection: sqlite3.Connection) -> str | None:
    rows = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
    found = {key: _prefix(str(location or ""), "0" if key == 0 else plain(name)) for key, name, location in rows}
    if first := found.get(0):
        return first
    others = {prefix for prefix in found.values() if prefix}
    return others.pop() if len(others) == 1 else None


def _prefix(location: str, name: str) -> str | None:
    prefix, _, last = location.rpartition("/")
    return prefix if prefix.startswith("file:///") and prefix.endswith(f"/{FOLDER}") and last == name else None


def _addresses(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: list[tuple[str, str]] = []
    for table in tables:
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        found += [(table, column) for column in columns if column in ADDRESSES or (table, column) == (TRACES, "value")]
    return found
