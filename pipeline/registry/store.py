"""The MLflow store, ready to use: reachable, its schema there, its voice lowered."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import socket
import sqlite3
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout

from pipeline.errors import UserError
from pipeline.redaction import redact
from pipeline.registry import moving
from pipeline.registry.addresses import DATABASE_PORTS, RECEIPT, TrackingAddress, lost, receipt, resolve, unregistered
from pipeline.storage import files

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_SECONDS = 900  # a large model on its way to the store takes minutes
PATIENCE = 5  # seconds, after which a line says what is waited for
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
class TrackingStore:
    """An open store; good inside `opened` only."""

    address: TrackingAddress
    root: Path
    client: MlflowClient

    @contextmanager
    def locked(self, what: str) -> Generator[None]:
        """One process at a time on an embedded store; a server's clients settle afterwards.

        Raises:
            UserError: if another process holds it for a quarter of an hour.
        """
        if self.address.database is None:
            yield
            return
        with _lock(self.address.database, what):
            yield


@contextmanager
def opened(root: Path, create: bool = False) -> Generator[TrackingStore]:
    """The store of the project in `root`. create: make an embedded one that is not there; else nothing is left behind.

    MLflow's own URI points to it meanwhile, so that `mlflow.…` functions reach it too. One that was moved or copied
    with its project is told its new place.

    Raises:
        UserError: if there is none, or it cannot be reached, made, read or written; credentials are left out.
    """
    address = resolve(root)
    if not create and address.database is not None and not _begun(address.database):
        raise absent(root, address)
    quieten()
    with plainly(address):
        prepare(address)
        import mlflow
        from mlflow.tracking._tracking_service import utils

        # By a run's id MLflow remembers where its files are, whichever store it is of: a copy has the same ids.
        getattr(utils, "_artifact_repos_cache", {}).clear()
        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(address.uri)
        try:
            yield TrackingStore(address, root.resolve(), mlflow.MlflowClient(address.uri))
        finally:
            mlflow.set_tracking_uri(cast(str, None))  # MLflow takes None for "look at the environment"
            if before is not None:
                os.environ["MLFLOW_TRACKING_URI"] = before


def absent(root: Path, address: TrackingAddress) -> UserError:
    """What to say where there is no embedded database, and nobody asked to make one; DVC is made to see it too."""
    unregistered(root)
    if lost(root) and not address.given:
        return UserError(
            f"the registry {address.shown} is gone. Bring it back from a copy, or make it again with `dvc repro`, "
            "which registers what artifacts/ hold"
        )
    if not address.given and not any((root / mark).is_file() for mark in ("params.yaml", "dvc.yaml")):
        return UserError(
            f"there is no project here: neither {root} nor a folder above it holds a params.yaml; change to a "
            "project's folder, or name a registry in MLFLOW_TRACKING_URI"
        )
    last = receipt(root)
    if last.get("registry") == address.recorded:
        return UserError(
            f"the registry {address.shown} is gone; {RECEIPT} says that {last.get('name')} version "
            f"{last.get('version')} was registered in it. Bring it back from a copy, or make it again with `dvc repro` "
            "or `zerosum register`, which register what artifacts/ hold"
        )
    named = "MLFLOW_TRACKING_URI names" if address.given else "it would be"
    elsewhere = f"; the one that {RECEIPT} names is {last['registry']}" if last.get("registry") else ""
    return UserError(
        f"there is no registry here: {named} {address.shown}, which `dvc repro` makes, or `zerosum register` where "
        f"artifacts/ hold a model already; MLFLOW_TRACKING_URI names another{elsewhere}"
    )


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
def plainly(address: TrackingAddress) -> Generator[None]:
    """What MLflow and its database raise, as a UserError without credentials or traceback."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        if unfit := _other_schema(address, str(error.message)):
            raise unfit from None
        # MLflow hands on what its database says, with the statement.
        if wrapped := re.search(r"^\(\w+\.\w+\) (.*)$", str(error.message), re.MULTILINE):
            raise UserError(redact(_database_error(address, wrapped[1]), address.uri)) from None
        raise UserError(redact(f"MLflow ({address.shown}): {error.message}", address.uri)) from None
    except CommandError as error:
        raise _other_schema(address, str(error)) or UserError(
            redact(f"the store {address.shown} cannot be used: {error}", address.uri)
        ) from None
    except (SQLAlchemyError, sqlite3.Error) as error:
        said = str(getattr(error, "orig", None) or error)
        raise UserError(redact(_database_error(address, said), address.uri)) from None


def _database_error(address: TrackingAddress, said: str) -> str:
    """What a database says, without the statement that met it, and what to do."""
    said = said.strip().partition("\n")[0]
    file = address.database
    if file is None:
        return f"the store {address.shown} cannot be used: {said}"
    if "locked" in said:
        return f"{file} is held by another process that writes to it; try again when that one has ended"
    if "readonly" in said or "unable to open" in said:
        return (
            f"{file} cannot be written ({said}): make it and its folder writable, or name another store in "
            "MLFLOW_TRACKING_URI"
        )
    if "malformed" in said or "not a database" in said:
        return _damaged(file, said)
    return f"{file} cannot be used: {said}"


def _damaged(file: Path, said: str) -> str:
    return (
        f"{file} is not a readable sqlite database ({said}): bring it back from a copy, or move it away and make a new "
        "one with `zerosum register`"
    )


def _other_schema(address: TrackingAddress, said: str) -> UserError | None:
    """What to do about a database of another MLflow; None where that is not what MLflow says."""
    found = re.search(r"found version (\w+)|revision identified by '(\w+)'", said)
    return None if found is None else _of_another_mlflow(address, found[1] or found[2])


def _of_another_mlflow(address: TrackingAddress, revision: str) -> UserError:
    from mlflow.version import VERSION

    if not _known_revision(revision):
        return UserError(
            f"{address.shown} was written by a newer MLflow than the one here, which is {VERSION} (its schema is "
            f"{revision}): use the version that wrote it, or name another store in MLFLOW_TRACKING_URI"
        )
    uri = shlex.quote(redact(address.uri, address.uri))
    return UserError(
        f"{address.shown} was written by an older MLflow than the one here, which is {VERSION}: take a copy of it, "
        f"then run `mlflow db upgrade {uri}`"
    )


def _known_revision(revision: str) -> bool:
    """Whether the MLflow here has this step of its schema: each is a file named for it."""
    from mlflow.store import db_migrations

    folder = Path(str(db_migrations.__file__)).parent / "versions"
    return any(path.name.startswith(f"{revision}_") for path in folder.glob("*.py"))


def prepare(address: TrackingAddress) -> None:
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
        lock = FileLock(path)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            print(f"{what}: waiting for another process that works on {database}", file=sys.stderr, flush=True)
            lock.acquire(timeout=LOCK_SECONDS - PATIENCE)
    except Timeout:
        raise UserError(f"{what}: another process has held {path} for {LOCK_SECONDS} s; see what it is doing") from None
    except OSError as error:
        raise UserError(f"{what}: {path.parent} cannot be written ({error.strerror}); make it writable") from None
    try:
        yield
    finally:
        lock.release()


def _make_database(database: Path, address: TrackingAddress) -> None:
    """Create the schema in a temporary file and rename it: half a schema is never seen.

    MLflow's own first use fails in most of several processes that start at once.
    """
    if _has_tables(database, address):
        _follow(database, address)
        return
    with _lock(database, "making the MLflow store"):
        if _has_tables(database, address):
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        # Of a database that is gone: DVC misses its out, and registers again.
        if address.receipts is not None:
            shutil.rmtree(address.receipts, ignore_errors=True)
        if address.home is not None and receipt(address.home).get("registry") == address.recorded:
            (address.home / RECEIPT).unlink(missing_ok=True)
        with files.replacing(database) as temporary:
            beside = resolve(database.parent, {"MLFLOW_TRACKING_URI": f"sqlite:///{quote(temporary.name)}"})
            made = SqlAlchemyStore(beside.uri, address.artifacts)
            made.engine.dispose()


def _follow(database: Path, address: TrackingAddress) -> None:
    """Tell a database that was moved or copied with its project where it is now."""
    now = address.artifacts or ""
    if moving.home(database) in {None, now}:
        return
    with _lock(database, "following a moved project"):
        before = moving.follow(database, now)
    if before is not None:
        print(
            f"{database} was moved here from {Path(before).parent}: its addresses follow", file=sys.stderr, flush=True
        )


def _begun(database: Path) -> bool:
    """Whether there is a database, an unreadable one included; not an empty file."""
    try:
        return database.is_dir() or database.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _has_tables(database: Path, address: TrackingAddress) -> bool:
    if not _begun(database):
        return False
    if database.is_dir():
        raise UserError(f"{database} is a folder, where a database belongs; move it away, or name another store")
    if not os.access(database, os.R_OK | os.W_OK):
        raise UserError(
            f"{database} cannot be read and written; give yourself the right to, or set MLFLOW_TRACKING_URI to another "
            "store"
        )
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=20)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            versions = (
                connection.execute("SELECT version_num FROM alembic_version") if "alembic_version" in names else ()
            )
            revision = next((str(found) for (found,) in versions), None)
    except sqlite3.OperationalError as error:
        raise UserError(_database_error(address, str(error))) from None
    except sqlite3.DatabaseError as error:
        raise UserError(_damaged(database, str(error))) from None
    if "model_versions" not in names:
        raise UserError(f"{database} holds no MLflow schema; move it away and repeat, or name another store")
    # MLflow would add its own tables to those of a later version before it fails.
    if revision is not None and not _known_revision(revision):
        raise _of_another_mlflow(address, revision)
    return True


# --- remote -----------------------------------------------------------------------------------


def _reach_server(address: TrackingAddress) -> None:
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


def _reach_database(address: TrackingAddress) -> None:
    # MLflow retries a refused connection for a hundred seconds.
    parts = urlsplit(address.uri)
    if parts.hostname is None:
        return
    try:
        port = parts.port or DATABASE_PORTS[address.scheme]
        socket.create_connection((parts.hostname, port), timeout=REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, str(error)) from None


def _unreachable(address: TrackingAddress, why: str) -> UserError:
    why = why if len(why) < 300 else f"{why[:300]}…"
    return UserError(
        redact(
            f"the MLflow store {address.shown} does not answer: {why}\n"
            "start it, correct MLFLOW_TRACKING_URI, or unset it for the project's own mlflow.db",
            address.uri,
        )
    )
