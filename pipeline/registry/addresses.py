"""Which store the registry speaks to: absolute addresses, and none with a password shown."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

from pipeline.errors import BrokenArtefact, UserError
from pipeline.redaction import redact
from pipeline.storage import files

EXPERIMENTS = (".dvc", "tmp", "exps")  # DVC's copies of a project, in which queued and --temp experiments run
STANDALONE = "standalone"  # between that folder and the copy, with --temp
# In a project: what was registered last, and where.
RECEIPT = Path("artifacts") / "curves" / "registration" / "registration.json"
# In a folder that git keeps empty, a dependency of the register stage: where nothing was registered, as in a clone, DVC
# finds it changed. Register's out alone is not enough: `dvc repro --pull` takes a missing out for one to be pulled.
SEEN = Path("inputs") / "register" / "registered.json"
LONGEST_KEY = 250
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


@dataclass(frozen=True)
class TrackingAddress:
    """A tracking URI made absolute.

    database: the sqlite file, where it is one. artifacts: where runs of an embedded store keep
    their files, as a file URI; None where a server decides. given: whether MLFLOW_TRACKING_URI names it.
    home: the project whose store it is, for an embedded one within it.
    """

    uri: str
    database: Path | None = None
    artifacts: str | None = None
    given: bool = True
    home: Path | None = None

    @property
    def scheme(self) -> str:
        """`sqlite`, `http`, `https`, `postgresql`, … without a driver."""
        return self.uri.partition(":")[0].partition("+")[0]

    @property
    def shown(self) -> str:
        """The URI as a message may hold it; of a file, its path as a person writes it."""
        return redact(self.uri, self.uri) if self.database is None else f"sqlite:///{self.database}"

    @property
    def recorded(self) -> str:
        """The same for a file that moves with the project: a path within it is relative to it."""
        if self.database is None or self.home is None:
            return self.shown
        return f"sqlite:///{self.database.relative_to(self.home)}"

    @property
    def receipts(self) -> Path | None:
        """The folder beside an embedded database that holds, by model, what was registered in it last."""
        return self.database and self.database.with_name(f"{self.database.name}-registered")


def check_place(root: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a folder, or a store, that the registry could not work with after all the training. Makes nothing.

    Raises:
        UserError: naming the folder, or MLFLOW_TRACKING_URI, and what to do.
    """
    folder = project_of(root.resolve())
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(folder).decode(errors="replace")
        raise UserError(f"{shown}: the folder's name is not UTF-8, which MLflow needs; rename the folder") from None
    resolve(root, environment)


def project_of(root: Path) -> Path:
    """The project that `root` is a copy of, where DVC runs an experiment in a copy; else `root` itself.

    `dvc exp run --queue` and `--temp` clone the whole git repository below .dvc/tmp/exps of the project, and remove
    the clone at the end. root: absolute.
    """
    parts = root.parts
    for index in range(1, len(parts) - len(EXPERIMENTS)):
        if parts[index : index + len(EXPERIMENTS)] == EXPERIMENTS:
            outer, inner = Path(*parts[:index]), parts[index + len(EXPERIMENTS) :]
            within = inner[2:] if inner[0] == STANDALONE else inner[1:]
            # The clone is of the repository, which may begin above the folder of .dvc.
            repository = next((each for each in (outer, *outer.parents) if (each / ".git").exists()), outer)
            found = repository.joinpath(*within)
            return found if found.is_dir() else outer
    return root


def resolve(root: Path, environment: Mapping[str, str] = os.environ) -> TrackingAddress:
    """`MLFLOW_TRACKING_URI` if set, else `mlflow.db` in `root`; relative paths are the project's.

    Where `root` is DVC's copy of a project for an experiment, they are those of the project itself.

    Raises:
        UserError: for a store that cannot work here: plain folders, sqlite in memory, a folder named as `a%20b`.
    """
    given = environment.get("MLFLOW_TRACKING_URI", "").strip()
    uri = given or "sqlite:///mlflow.db"
    scheme, found, rest = uri.partition(":")
    if not found or scheme == "file":
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri}: MLflow has given up folders as stores; name a server (http://host:5000)"
            " or a database (sqlite:///mlflow.db), or unset it for the project's own mlflow.db"
        )
    if scheme.partition("+")[0] != "sqlite":
        return TrackingAddress(uri.rstrip("/") if scheme in {"http", "https"} else uri)
    return _sqlite(project_of(root.resolve()), scheme, rest, bool(given))


def _sqlite(root: Path, scheme: str, rest: str, given: bool) -> TrackingAddress:
    name, mark, query = rest.removeprefix("///").partition("?")
    if not rest.startswith("///") or name in {"", ":memory:"}:
        raise UserError(f"MLFLOW_TRACKING_URI={scheme}:{rest}: name a file, as in sqlite:///mlflow.db")
    # SQLAlchemy takes %20 in an sqlite URL for a blank.
    database = (root / unquote(name)).resolve()
    path = str(database)
    if unquote(path) != path:
        raise UserError(
            f"{database.parent}: MLflow takes a % and two digits (or a to f) behind it for another character, and "
            "would not find its files there; rename the folder, or name a server in MLFLOW_TRACKING_URI"
        )
    if "?" in path:
        # With its driver named, MLflow does not make the folders of the path as the URI has it.
        path, scheme = quote(path), scheme if "+" in scheme else "sqlite+pysqlite"
    artifacts = (database.parent / "mlartifacts").as_uri()
    home = root if database.is_relative_to(root) else None
    return TrackingAddress(f"{scheme}:///{path}{mark}{query}", database, artifacts, given, home)


def receipt(root: Path) -> dict[str, Any]:
    """What the project in `root` registered last, and where: name, version, run_id, aliases, registry; or empty."""
    return read_receipt(root / RECEIPT)


def unregistered(root: Path) -> None:
    """Have DVC find the register stage changed: the registry that is chosen now lacks what was registered."""
    with contextlib.suppress(OSError):  # of a project that cannot be written: only the sentence is left
        (root / SEEN).unlink(missing_ok=True)


def lost(root: Path) -> bool:
    """Whether the project once registered in an embedded store that is gone with its receipts."""
    folder = (root / RECEIPT).parent
    return folder.is_symlink() and not folder.exists()


def read_receipt(path: Path) -> dict[str, Any]:
    """The same of a file."""
    try:
        found: object = files.read_json(path, "the register stage")
    except BrokenArtefact:
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def plain(name: str) -> str:
    """A key, or an experiment's folder, of the letters MLflow allows, and of the length."""
    return re.sub(r"[^\w\-. /]", "_", name)[:LONGEST_KEY]
