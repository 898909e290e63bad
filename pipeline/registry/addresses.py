"""Which store the registry speaks to: absolute addresses, and none with a password shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.settings import UserError

DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SECRET_QUERY = r"(?i)\b(password|passwd|pwd|token|secret|api_key)=([^&\s]+)"


@dataclass(frozen=True)
class Address:
    """A tracking URI made absolute.

    database: the sqlite file, where it is one. artifacts: where runs of an embedded store keep
    their files, as a file URI; None where a server decides.
    """

    uri: str
    database: Path | None = None
    artifacts: str | None = None

    @property
    def scheme(self) -> str:
        """`sqlite`, `http`, `https`, `postgresql`, … without a driver."""
        return self.uri.partition(":")[0].partition("+")[0]

    @property
    def shown(self) -> str:
        """The URI as a message may hold it."""
        return redact(self.uri, self.uri)


def resolve(root: Path, environment: Mapping[str, str] = os.environ) -> Address:
    """`MLFLOW_TRACKING_URI` if set, else `mlflow.db` in `root`; relative paths are the project's.

    Raises:
        UserError: for a store that cannot work here: plain folders, sqlite in memory.
    """
    uri = environment.get("MLFLOW_TRACKING_URI", "").strip() or "sqlite:///mlflow.db"
    scheme, found, rest = uri.partition(":")
    if not found or scheme == "file":
        raise UserError(
            f"MLFLOW_TRACKING_URI={uri}: MLflow has given up folders as stores; name a server (http://host:5000)"
            " or a database (sqlite:///mlflow.db), or unset it for the project's own mlflow.db"
        )
    if scheme.partition("+")[0] != "sqlite":
        return Address(uri.rstrip("/") if scheme in {"http", "https"} else uri)
    return _sqlite(root.resolve(), scheme, rest)


def _sqlite(root: Path, scheme: str, rest: str) -> Address:
    name, mark, query = rest.removeprefix("///").partition("?")
    if not rest.startswith("///") or name in {"", ":memory:"}:
        raise UserError(f"MLFLOW_TRACKING_URI={scheme}:{rest}: name a file, as in sqlite:///mlflow.db")
    database = (root / name).resolve()
    if "?" in str(database):
        raise UserError(f"{database}: an sqlite store cannot live under a name with '?'; rename the folder")
    artifacts = (database.parent / "mlartifacts").as_uri()
    return Address(f"{scheme}:///{database}{mark}{query}", database, artifacts)


def redact(text: str, uri: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """`text` without the credentials of `uri`, of any other URI in it, and of MLflow's variables."""
    secrets = [environment.get(name, "") for name in _SECRET_VARIABLES]
    login = uri.partition("://")[2].partition("?")[0].rpartition("@")[0]
    secrets.extend([login, login.partition(":")[2], *(found[1] for found in re.findall(_SECRET_QUERY, uri))])
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"(\w://)[^\s/]+@", r"\1***@", text)
    return re.sub(_SECRET_QUERY, r"\1=***", text)
