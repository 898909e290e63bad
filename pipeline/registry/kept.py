"""Whether the files of a registered model are where the store says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.errors import UserError
from pipeline.formats.model import ModelCard
from pipeline.registry.store import TrackingStore
from pipeline.registry.tracking import WEIGHTS_TAG

if TYPE_CHECKING:
    from mlflow.entities import FileInfo
    from mlflow.entities.model_registry import ModelVersion

REGISTERED = "models:/"
MODEL = "artifacts/model"  # within the MLflow model: the published one
SOURCE = re.compile(r"models:/(m-[0-9a-f]+)")


def local(location: str) -> Path | None:
    """The folder of an artefact address on this machine; None where it is a server's or an object store's."""
    parts = urlsplit(location)
    if parts.scheme not in {"", "file"}:
        return None
    return Path(unquote(parts.path)) if parts.scheme else Path(location)


def logged_model(store: TrackingStore, version: ModelVersion) -> str | None:
    """The id of the logged model that a version is; None where that has been deleted, or it is no logged model."""
    from mlflow.exceptions import MlflowException

    found = SOURCE.fullmatch(str(version.source))
    if found is None:
        return None
    try:
        store.client.get_logged_model(found[1])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return found[1]


def whole(store: TrackingStore, logged: str, card: ModelCard) -> bool:
    """Whether the logged model has its MLmodel and the files of the published model."""
    names = {str(each.path) for folder in ("", MODEL) for each in _listed(store, logged, folder)}
    return {"MLmodel", *(f"{MODEL}/{name}" for name in ("model.json", *card.files))} <= names


def _listed(store: TrackingStore, logged: str, folder: str) -> list[FileInfo]:
    return list(store.client.list_logged_model_artifacts(logged, folder or None))


def require(uri: str) -> Path | None:
    """The folder of a registered model whose files are on this machine; None where a server keeps them.

    Refuses `models:/NAME@ALIAS` or `models:/NAME/VERSION` whose files are gone from this machine's disk.
    Inside `store.opened`. What is there but broken, and what a server keeps, is found out by those who read it.

    Raises:
        UserError: naming the folder, and what brings it back.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient()
    name, at, alias = uri.removeprefix(REGISTERED).partition("@")
    if not at:
        name, _, alias = name.partition("/")
    if not uri.startswith(REGISTERED) or not (at or alias.isdigit()):
        return None
    try:
        version = client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, alias)
        folder = local(client.get_model_version_download_uri(name, str(version.version)))
    except MlflowException:
        return None  # said by who opens it
    if folder is None or (folder / "MLmodel").is_file():
        return folder
    weights = str(version.tags.get(WEIGHTS_TAG, ""))[:12]
    what = "holds no MLmodel" if folder.is_dir() else "is missing"
    raise UserError(
        f"{uri}: the files of version {version.version} are gone: {folder} {what}. Bring the folder back from a copy, "
        f"or, where artifacts/model holds the same weights ({weights}…), log them again with `zerosum register` or "
        "`dvc repro -f -s register`"
    )
