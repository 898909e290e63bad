"""One MLflow run a training: parameters, curves, data, files; written again it stays the same run."""

from __future__ import annotations

import json
import math
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.model import ModelCard, load_card
from pipeline.registry import lineage as lineage_of
from pipeline.registry.addresses import plain, project_of
from pipeline.registry.store import TrackingStore
from pipeline.storage import files

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

WEIGHTS_TAG = "zerosum.weights_sha256"
LINEAGE_TAG = "zerosum.lineage_sha256"
EXPERIMENT_TAG = "zerosum.dvc_experiment"
METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
LONGEST_PARAM = 6000
DIGEST = 36  # what MLflow keeps of a data set's digest

T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """What one training leaves to be recorded.

    model, report: the folders of those artefacts. params: every setting by its dotted name.
    history: rows of `examples_seen` and metrics. lineage: as `registry.lineage.gather` gives it.
    attachments: files kept as they are (params.yaml, dvc.lock).
    """

    model: Path
    report: Path
    params: Mapping[str, object] = field(default_factory=lambda: {})
    history: Sequence[Mapping[str, object]] = ()
    lineage: Mapping[str, str] = field(default_factory=lambda: {})
    attachments: Sequence[Path] = ()


def experiment_id(store: TrackingStore, name: str) -> str:
    """The experiment's id, made on first use; two processes at once get the same.

    Raises:
        UserError: if it was deleted, which MLflow keeps the name of.
    """
    from mlflow.exceptions import MlflowException

    found = store.client.get_experiment_by_name(name)
    if found is None:
        location = store.address.artifacts
        try:
            return store.client.create_experiment(name, f"{location}/{plain(name)}" if location else None)
        except MlflowException:
            found = store.client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise UserError(
            f"the MLflow experiment '{name}' was deleted; bring it back with"
            f" `{_command(store, f'experiments restore -x {found.experiment_id}')}`, or name another in"
            " register.experiment"
        )
    return found.experiment_id


def _command(store: TrackingStore, arguments: str) -> str:
    """A line of the shell for MLflow's own command; a store elsewhere is in the environment already."""
    where = "" if store.address.database is None else f"MLFLOW_TRACKING_URI={shlex.quote(store.address.uri)} "
    return f"{where}mlflow {arguments}"


def record(store: TrackingStore, experiment: str, training: Training) -> str:
    """The id of the training's run: found by weights and lineage, or made; then brought up to date.

    What is there already is left; a run that a kill left half written is completed.
    """
    card = load_card(training.model)
    run = _run(store, experiment_id(store, experiment), card, training)
    run_id, begun = run.info.run_id, run.info.start_time
    named = os.environ.get("DVC_EXP_NAME")  # by `dvc exp run`
    if named and EXPERIMENT_TAG not in run.data.tags:
        store.client.set_tag(run_id, EXPERIMENT_TAG, named)
    _log_params(store, run, training.params)
    log_metrics(store, run_id, [*_curves(training.history, begun), *_scores(training.report, card, begun)])
    _log_dataset(store, run_id, card, training.lineage)
    _log_files(store, run_id, training)
    store.client.set_terminated(run_id, "FINISHED")
    return run_id


def scores(report: Path) -> dict[str, float]:
    """The report's flat metrics that have a finite value."""
    found: object = files.read_json(report / "metrics.json", "the evaluate stage")
    if not isinstance(found, dict):
        raise BrokenArtefact(f"{report / 'metrics.json'} holds no scores by name; run the evaluate stage again")
    numbers = {name: number(value) for name, value in cast(dict[str, object], found).items()}
    return {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}


# --- parts of a run ---------------------------------------------------------------------------


def _run(store: TrackingStore, experiment: str, card: ModelCard, training: Training) -> Run:
    tags = {WEIGHTS_TAG: card.weights_sha256, LINEAGE_TAG: lineage_of.key(training.lineage)}
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = store.client.search_runs([experiment], wanted, max_results=1, order_by=["attributes.start_time ASC"])
    if found:
        return found[0]
    described = {
        **tags,
        "zerosum.family": card.family,
        "zerosum.examples_seen": str(card.examples_seen),
        **{f"lineage.{name}": value for name, value in training.lineage.items()},
    }
    # The client, unlike `start_run`, adds no user name and no path of a script.
    return store.client.create_run(experiment, run_name=f"{card.family}-{card.weights_sha256[:8]}", tags=described)


def _log_params(store: TrackingStore, run: Run, params: Mapping[str, object]) -> None:
    """Parameters MLflow does not hold yet: it keeps the first value of each for good."""
    from mlflow.entities import Param

    new = {name: value for name, value in params.items() if plain(name) not in run.data.params}
    rows = [Param(plain(name), _text(value, store.root)) for name, value in new.items()]
    for chunk in _chunks(rows, PARAMS_A_CALL):
        store.client.log_batch(run.info.run_id, params=chunk)


def log_metrics(store: TrackingStore, run_id: str, metrics: Sequence[Metric]) -> None:
    """Log them in as few calls as MLflow allows; those it has are left."""
    for chunk in _chunks(metrics, METRICS_A_CALL):
        store.client.log_batch(run_id, metrics=chunk)


def _curves(history: Sequence[Mapping[str, object]], begun: int) -> Iterator[Metric]:
    """History over examples seen. Times are counted, not taken, so that a repeat adds no point.

    NaN and infinities pass: MLflow marks the one and clips the other.
    """
    from mlflow.entities import Metric

    for row, entry in enumerate(history):
        step = number(entry.get("examples_seen"))
        for name, value in entry.items():
            found = number(value)
            if found is not None and name != "examples_seen":
                yield Metric(plain(name), found, begun + row, int(step or 0))


def _scores(report: Path, card: ModelCard, begun: int) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for name, value in scores(report).items():
        yield Metric(plain(f"score/{name}"), value, begun, card.examples_seen)


def _log_dataset(store: TrackingStore, run_id: str, card: ModelCard, lineage: Mapping[str, str]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    manifest = lineage.get("manifest_sha256", lineage_of.NONE)
    if manifest == lineage_of.NONE:
        return
    dataset = Dataset(
        name="shards",
        digest=manifest[:DIGEST],
        source_type="local",
        source=json.dumps({"uri": "artifacts/shards", "manifest_sha256": manifest}, sort_keys=True),
        profile=json.dumps(card.spec.to_json(), sort_keys=True),
    )
    store.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _log_files(store: TrackingStore, run_id: str, training: Training) -> None:
    """The report's folder, the model's card and the attachments, under names without a path."""
    store.client.log_artifacts(run_id, str(training.report), "report")
    with tempfile.TemporaryDirectory(prefix="zerosum-") as folder:
        for source in [training.model / "model.json", *training.attachments]:
            if source.is_file():
                (Path(folder) / source.name).write_bytes(source.read_bytes())
        store.client.log_artifacts(run_id, folder, "provenance")


# --- values MLflow takes ----------------------------------------------------------------------


def _text(value: object, root: Path) -> str:
    """A parameter as text: the project's own and the person's home folder left out, long ones cut."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    for own in (root, project_of(root)):
        text = text.replace(str(own), ".")
    text = text.replace(str(Path.home()), "~") if str(Path.home()) != "/" else text
    return cut(text, LONGEST_PARAM)


def cut(text: str, longest: int) -> str:
    """`text`, or as much of it as fits with its sha256 behind."""
    if len(text) <= longest:
        return text
    tail = f"… (sha256 {files.sha256_bytes(text.encode())[:16]})"
    return text[: longest - len(tail)] + tail


def number(value: Any) -> float | None:
    """`value` as a float where it is a number; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def number_in(text: str) -> float | None:
    """The number that a tag holds, if it holds one."""
    try:
        return float(text)
    except ValueError:
        return None


def _chunks(rows: Sequence[T], size: int) -> Iterator[list[T]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk
