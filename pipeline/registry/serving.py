"""The trained model as an MLflow model: weights, travelling code, signature; no pickle, no local path."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import limits, plugins
from pipeline.contract import AnyFamily
from pipeline.data.columns import header
from pipeline.errors import UserError
from pipeline.formats.model import MADE_BY, ModelCard
from pipeline.registry import kept, packaging, travelling
from pipeline.registry.store import TrackingStore
from pipeline.registry.tracking import WEIGHTS_TAG
from pipeline.storage import files
from pipeline.types import Column, DataSpec, Modality

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import PyFuncModel
    from mlflow.types import ColSpec, TensorSpec

CODE = "served_model.py"
EXAMPLE = "a picture"  # of a request to a model that reads text
MODEL_NAME = "generator"
# The first form of served models whose column `label_index` holds indices, and `label` names alone.
INDICES_APART = 2


@dataclass(frozen=True)
class Served:
    """A registered model opened with the code it was published with; no classes = unconditional.

    inputs: what it translates. modality: what its samples are. rate: of its sound, samples a second. columns: of its
    table. version: of its form, which says what the columns of its input mean.
    """

    model: PyFuncModel
    classes: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    rate: int | None = None
    version: int = INDICES_APART
    modality: Modality = "image"
    reads_text: bool = False
    columns: tuple[Column, ...] = ()

    def sample(
        self,
        n: int,
        labels: Sequence[int] | None,
        seed: int,
        truncation: float,
        texts: Sequence[str] | None = None,
    ) -> Any:
        """Samples (n, H, W, C), the bytes that serving it gives; rows of a table as a pandas frame.

        labels: (n,) indices into `classes` where it is conditional. texts: sentences in turn, where it reads text.

        Raises:
            UserError: if the model makes nothing of noise alone, or refuses what it is asked for.
        """
        import pandas as pd
        from mlflow.exceptions import MlflowException

        if self.inputs:
            raise UserError("this model translates: hand it images in the column `input` of MLflow's predict")
        if texts is not None and not self.reads_text:
            raise UserError("--text: this model reads no text; leave it out")
        if texts is None and self.reads_text:
            raise UserError("this model draws what a sentence says: give --text, or --texts")
        # Models of the first form took whole numbers in `label` for indices, and had no other column for them.
        column = "label_index" if self.version >= INDICES_APART else "label"
        frame = pd.DataFrame({"n": [n]} if labels is None else {column: [int(label) for label in labels]})
        if texts is not None:
            frame = pd.DataFrame({"text": [texts[index % len(texts)] for index in range(n)]})
        try:
            made: Any = self.model.predict(frame, params={"seed": seed, "truncation": truncation})
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise UserError(f"the model refuses: {error.message}") from None
        return made


def load(uri: str) -> Served:
    """The model at `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a folder; inside `store.opened`.

    MLflow runs the code that the model holds, whoever wrote it, with the rights of whoever calls this. For weights
    alone see `model_folder`.

    Raises:
        UserError: if it is none of this project's, or its files are gone.
    """
    import mlflow.pyfunc

    kept.require(uri)
    try:
        model = mlflow.pyfunc.load_model(uri)
    except OSError as error:
        raise UserError(f"{uri}: its files cannot be read from the artefact store ({error})") from None
    about: dict[str, Any] = model.metadata.metadata or {}
    if "package" not in about:
        raise UserError(f"{uri} was not registered by this project: it is no generator")
    classes = tuple(about["classes"]) if about["conditional"] else ()
    version, inputs = int(about["format_version"]), tuple(about.get("inputs", ()))
    # Models of before voxels and video say nothing else of being sound than its rate.
    modality = about.get("modality", "waveform" if about.get("rate") else "image")
    columns = tuple(Column.from_json(each) for each in about.get("columns", ()))
    return Served(model, classes, inputs, about.get("rate"), version, modality, bool(about.get("text")), columns)


def model_folder(uri: str, target: Path) -> Path:
    """The published model's own folder (`formats.model`) within the registered one, copied to `target`.

    Inside `store.opened`. None of the model's code is run.

    Raises:
        UserError: if it is none of this project's, or its files are gone.
    """
    return published(fetched(uri, target), uri)


def published(folder: Path, uri: str) -> Path:
    """The published model's folder in a registered one.

    Raises:
        UserError: if there is none.
    """
    found = folder / "artifacts" / "model"
    if not (found / "model.json").is_file():
        raise UserError(f"{uri} was not registered by this project: it is no generator")
    return found


def fetched(uri: str, target: Path) -> Path:
    """The whole registered model, copied to `target`: files alone, none of which is run.

    Inside `store.opened`.

    Raises:
        UserError: if there is no such model, its files are gone, or it holds links.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    if (here := kept.require(uri)) is not None:
        travelling.regular(here)
    target.mkdir(parents=True, exist_ok=True)
    try:
        found = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(target)))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"{uri}: there is no such model") from None
    except OSError as error:
        raise UserError(f"{uri}: its files cannot be read from the artefact store ({error})") from None
    travelling.regular(found)
    return found


def build(model: Path, card: ModelCard, *, conditional: bool, target: Path) -> None:
    """Write the MLflow model of the artefact in `model` to the new folder `target`. Needs no store.

    It loads by `mlflow.pyfunc.load_model(target)` wherever its requirements are installed.
    """
    import mlflow.pyfunc
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="zerosum-") as name:
        folder = Path(name)
        package = packaging.pack(card.family, folder)
        weights = folder / "model"
        weights.mkdir()
        for file in ("model.json", *card.files):
            shutil.copyfile(model / file, weights / file)
        for file, sha256 in card.files.items():
            files.verify(weights / file, sha256, MADE_BY)
        shutil.copyfile(Path(__file__).with_name(CODE), folder / CODE)
        serving = {**described(card, package.name, conditional), "max_rows": limits.SERVED_ROWS}
        files.write_json(folder / "serving.json", serving)
        example: dict[str, list[Any]] = {"label": list(card.spec.classes[:2])} if conditional else {"n": [2]}
        for channels, *sides in translated(card).values():
            example = {"input": [np.zeros((*sides, channels), dtype=np.uint8).tolist()]}
        if reads_text(card):
            example = {"text": [EXAMPLE]}
        mlflow.pyfunc.save_model(
            target,
            python_model=str(folder / CODE),
            artifacts={"model": str(weights), "serving": str(folder / "serving.json")},
            code_paths=[str(package.folder)],
            signature=signature(card, conditional),
            input_example=(pd.DataFrame(example), {"seed": 0, "truncation": 1.0}),
            pip_requirements=list(package.requirements),
            metadata=described(card, package.name, conditional),
        )
    _forget_paths(target)


def described(card: ModelCard, package: str, conditional: bool) -> dict[str, Any]:
    """What the served model reads before anything else; also the MLflow model's metadata."""
    from pipeline.registry.served_model import FORMAT_VERSION

    return {
        "format_version": FORMAT_VERSION,
        "package": package,
        "family": card.family,
        "conditional": conditional,
        "classes": list(card.spec.classes),
        "modality": card.spec.modality,
        "shape": list(card.spec.shape),
        "rate": card.spec.rate,
        "weights_sha256": card.weights_sha256,
        "inputs": {name: list(shape) for name, shape in translated(card).items()},
        **({"text": True} if reads_text(card) else {}),
        **({"columns": [column.to_json() for column in card.spec.columns]} if card.spec.columns else {}),
    }


def translated(card: ModelCard) -> dict[str, tuple[int, ...]]:
    """What samples are made from, but for text, with one example's shape; nothing for most designs."""
    return {name: card.spec.field_shape(name) or card.spec.shape for name in _inputs(card) if not _is_text(card, name)}


def reads_text(card: ModelCard) -> bool:
    """Whether samples are of sentences."""
    return any(_is_text(card, name) for name in _inputs(card))


def _inputs(card: ModelCard) -> list[str]:
    family: AnyFamily = plugins.load("families", {"name": card.family, **card.config})
    return sorted(family.inputs)


def _is_text(card: ModelCard, name: str) -> bool:
    found = card.spec.field(name)
    return found is not None and found.kind == "text"


def signature(card: ModelCard, conditional: bool) -> ModelSignature:
    """`label` by name or `label_index`, params seed and truncation; out come pixels, channels last.

    An unconditional model takes `n`, or rows whose label is null: MLflow drops the rows of a frame that has no
    columns. Every column has one of MLflow's plain types, without which its server reads no CSV. A text column also
    lets nested lists and numbers of JSON through; both label columns are optional, as MLflow knows no "either".
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    from pipeline.registry.served_model import PARAMS

    other = "label_index" if conditional else "n"
    columns: list[ColSpec | TensorSpec] = [
        ColSpec("string", "label", required=False),
        ColSpec("long", other, required=False),
    ]
    if translated(card):
        columns = [ColSpec("string", "input")]
    if reads_text(card):
        columns = [ColSpec("string", "text")]
    params = [ParamSpec("seed", "long", PARAMS["seed"]), ParamSpec("truncation", "double", PARAMS["truncation"])]
    return ModelSignature(
        inputs=Schema(columns),
        outputs=Schema(_outputs(card.spec, conditional)),
        params=ParamSchema(params),
    )


def _outputs(spec: DataSpec, conditional: bool) -> list[ColSpec | TensorSpec]:
    from mlflow.types import ColSpec, TensorSpec

    if spec.columns:
        by_name = {column.name: _type(column) for column in spec.columns}
        return [ColSpec(by_name.get(name, "string"), name) for name in header(spec, conditional)]
    channels, *rest = spec.shape
    return [TensorSpec(np.dtype(spec.dtype), (-1, *rest, channels))]


def _type(column: Column) -> str:
    if column.categories:
        return "string"
    return "long" if column.whole and not column.masked else "double"


def log(store: TrackingStore, model: Path, card: ModelCard, conditional: bool, run_id: str) -> str:
    """The id of the run's logged model of these weights: one that is there whole, or a new one."""
    from mlflow.entities import LoggedModelOutput

    experiment = store.client.get_run(run_id).info.experiment_id
    wanted = f"tags.`{WEIGHTS_TAG}` = '{card.weights_sha256}' and source_run_id = '{run_id}'"
    for found in store.client.search_logged_models([experiment], wanted):
        if found.status == "READY":
            return found.model_id
        store.client.delete_logged_model(found.model_id)  # what a kill left
    # By the client, since `log_model` would tag it with the person's name and a script's path.
    tags = {WEIGHTS_TAG: card.weights_sha256, "family": card.family}
    logged = store.client.create_logged_model(experiment, MODEL_NAME, run_id, tags=tags)
    log_files(store, logged.model_id, model, card, conditional)
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, card.examples_seen)])
    store.client.finalize_logged_model(logged.model_id, "READY")
    return logged.model_id


def log_files(store: TrackingStore, logged: str, model: Path, card: ModelCard, conditional: bool) -> None:
    """Log the files of the model in the folder `model` to a logged model; those that are there are replaced."""
    with tempfile.TemporaryDirectory(prefix="zerosum-") as name:
        folder = Path(name) / MODEL_NAME
        build(model, card, conditional=conditional, target=folder)
        store.client.log_model_artifacts(logged, str(folder))


def _forget_paths(target: Path) -> None:
    """MLmodel records where the code and the artefacts were copied from; loading reads base names."""
    from mlflow.models import Model

    model = Model.load(target)
    flavour: dict[str, Any] = model.flavors["python_function"]
    flavour["model_code_path"] = CODE
    for artefact in flavour["artifacts"].values():
        artefact["uri"] = artefact["path"]
    model.save(str(target / "MLmodel"))
