"""The MLflow store, ready to use: reachable, its schema there, its voice lowered."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from pipeline.formats import files
from pipeline.registry.addresses import DATABASE_PORTS, Address, redact, resolve
from pipeline.settings import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_SECONDS = 120
REACH_SECONDS = 5
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # it would copy the project's lock file into every model
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own 7 retries take minutes to give up
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class Store:
    """An open store; good inside `opened` only."""

    address: Address
    root: Path
    client: MlflowClient

    @contextmanager
    def locked(self, what: str) -> Generator[None]:
        """One process at a time on an embedded store; a server's clients settle afterwards.

        Raises:
            UserError: if another process holds it for two minutes.
        """
        if self.address.database is None:
            yield
            return
        with _lock(self.address.database, what):
            yield


@contextmanager
def opened(root: Path) -> Generator[Store]:
    """The store of the project in `root`, made on first use.

    MLflow's own URI points to it meanwhile, so that `mlflow.…` functions reach it too.

    Raises:
        UserError: if it cannot be reached, made, read or written; credentials are left out.
    """
    address = resolve(root)
    quieten()
    with plainly(address):
        prepare(address)
        import mlflow

        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(address.uri)
        try:
            yield Store(address, root.resolve(), mlflow.MlflowClient(address.uri))
        finally:
            mlflow.set_tracking_uri(cast(str, None))  # MLflow takes None for "look at the environment"
            if before is not None:
                os.environ["MLFLOW_TRACKING_URI"] = before


def quieten() -> None:
    """Telemetry, progress bars and announcements off, retries bounded; what a person has set stays."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow  # its import configures the loggers that are lowered here

    _ = mlflow
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # errors reach us as exceptions


@contextmanager
def plainly(address: Address) -> Generator[None]:
    """What MLflow and its database raise, as a UserError without credentials or traceback."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        raise UserError(redact(f"MLflow ({address.shown}): {error.message}", address.uri)) from None
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise UserError(redact(f"the store {address.shown} cannot be used: {error}", address.uri)) from None


def prepare(address: Address) -> None:
    """Fail within seconds where the store is out of reach; make an embedded one on first use.

    Raises:
        UserError: naming the address, without credentials, and what to do.
    """
    if address.database is not None:
        _make_database(address.database, address)
    elif address.scheme in {"http", "https"}:
        _reach_server(address)
    elif address.scheme in DATABASE_PORTS:
        _reach_database(address)


# --- embedded ---------------------------------------------------------------------------------


@contextmanager
def _lock(database: Path, what: str) -> Generator[None]:
    path = database.with_name(f"{database.name}-lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=LOCK_SECONDS)
        lock.acquire()
    except Timeout:
        raise UserError(f"{what}: another process has held {path} for {LOCK_SECONDS} s; see what it is doing") from None
    except OSError as error:
        raise UserError(f"{what}: {path.parent} cannot be written ({error.strerror}); make it writable") from None
    try:
        yield
    finally:
        lock.release()


def _make_database(database: Path, address: Address) -> None:
    """Create the schema in a temporary file and rename it: half a schema is never seen.

    MLflow's own first use fails in most of several processes that start at once.
    """
    if _has_tables(database):
        return
    with _lock(database, "making the MLflow store"):
        if _has_tables(database):
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with files.replacing(database) as temporary:
            made = SqlAlchemyStore(f"sqlite:///{temporary}", address.artifacts)
            made.engine.dispose()


def _has_tables(database: Path) -> bool:
    if not database.exists():
        return False
    if not os.access(database, os.W_OK):
        raise UserError(f"{database} cannot be written; make it writable, or set MLFLOW_TRACKING_URI to another store")
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=20)
        try:
            count = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'model_versions'").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise UserError(f"{database} is not a readable sqlite database ({error}); move it away and repeat") from None
    if not count[0] and database.stat().st_size:
        raise UserError(f"{database} holds no MLflow schema; move it away and repeat, or name another store")
    return bool(count[0])


# --- remote -----------------------------------------------------------------------------------


def _reach_server(address: Address) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer: Any = http_request(
            get_default_host_creds(address.uri),
            "/health",
            "GET",
            max_retries=0,
            timeout=REACH_SECONDS,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise _unreachable(address, str(error)) from None
    if answer.status_code in {502, 503, 504}:
        raise _unreachable(address, f"it answers HTTP {answer.status_code}")


def _reach_database(address: Address) -> None:
    # MLflow retries a refused connection for a hundred seconds.
    parts = urlsplit(address.uri)
    if parts.hostname is None:
        return
    try:
        port = parts.port or DATABASE_PORTS[address.scheme]
        socket.create_connection((parts.hostname, port), timeout=REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, str(error)) from None


def _unreachable(address: Address, why: str) -> UserError:
    why = why if len(why) < 300 else f"{why[:300]}…"
    return UserError(
        redact(
            f"the MLflow store {address.shown} does not answer: {why}\n"
            "start it, correct MLFLOW_TRACKING_URI, or unset it for the project's own mlflow.db",
            address.uri,
        )
    )
