"""Score records as the registry keeps them: on a version, in its tags; on a run, in its report."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.formats.report import ScoreRecord, load_scores
from pipeline.registry import kept
from pipeline.registry.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

RECORD = "record."
MODELS = "models:/"
RUN = re.compile(r"[0-9a-f]{32}")


def of_version(store: TrackingStore, uri: str) -> list[ScoreRecord]:
    """The records of `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        UserError: if there is no such version, or it was registered without records.
    """
    from mlflow.exceptions import MlflowException

    try:
        tags = _version(store, uri).tags
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        raise UserError(f"{uri}: {store.address.shown} holds no such model version") from None
    found = [value for name, value in sorted(tags.items()) if name.startswith(RECORD)]
    if not found:
        raise UserError(f"{uri} was registered without score records")
    return [ScoreRecord.from_text(record) for record in found]


def of_run(store: TrackingStore, run_id: str) -> list[ScoreRecord]:
    """The records of an MLflow run, from the report it keeps.

    Raises:
        UserError: if there is no such run, it keeps no report, or its files are gone.
    """
    from mlflow.exceptions import MlflowException

    try:
        location = kept.local(str(store.client.get_run(run_id).info.artifact_uri))
    except MlflowException:
        raise UserError(f"{run_id}: {store.address.shown} holds no run of this id") from None
    if location is not None and not location.is_dir():
        raise UserError(
            f"{run_id}: the files of this run are gone: {location} is missing. Bring the folder back from a copy; "
            "`zerosum register` logs again those of the training that artifacts/ hold"
        )
    with tempfile.TemporaryDirectory(prefix="zerosum-") as folder:
        try:
            found = store.client.download_artifacts(run_id, "report/scores.json", folder)
        except (MlflowException, OSError):
            raise UserError(f"{run_id}: this run of {store.address.shown} keeps no report with scores") from None
        return load_scores(Path(found).parent)


def _version(store: TrackingStore, uri: str) -> ModelVersion:
    address = uri.removeprefix(MODELS)
    name, at, alias = address.partition("@")
    if at:
        return store.client.get_model_version_by_alias(name, alias)
    name, _, version = address.partition("/")
    return store.client.get_model_version(name, version)
