"""Registering, serving, promoting: on a real sqlite store, a real server, and from processes of their own."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow_server
import numpy as np
import pytest
import registered_toy as toy

from pipeline.cli import generate
from pipeline.errors import UserError
from pipeline.params.register import RegisterSettings
from pipeline.registry import models, serving, tracking
from pipeline.registry.store import TrackingStore, opened
from pipeline.sampling.samples import open_model

pytestmark = [
    pytest.mark.slow,  # a real store for each: about 50 s together
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own, of SQLAlchemy and pydantic
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # MLflow about its own type hints, on import
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # MLflow leaves its pooled connections to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETTINGS = RegisterSettings(name="toy")
PYTHON = sys.executable

# Serves the champion where importing the project is impossible, and prints what it drew.
WITHOUT_THE_PROJECT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pipeline", "stages"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import hashlib, mlflow.pyfunc, pandas
"""

STRANGER = (
    WITHOUT_THE_PROJECT
    + """
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/toy@champion")
drawn = model.predict(pandas.DataFrame({"label": ["zero", "one", "two"]}), params={"seed": 7})
print(drawn.shape, drawn.dtype, hashlib.sha256(drawn.tobytes()).hexdigest())
"""
)

SIDE_BY_SIDE = (
    WITHOUT_THE_PROJECT
    + """
models = [mlflow.pyfunc.load_model(folder) for folder in sys.argv[1:]]
rows = pandas.DataFrame({"label_index": [0, 1, 2]})
print(*(hashlib.sha256(model.predict(rows, params={"seed": 7}).tobytes()).hexdigest() for model in models))
"""
)

REGISTER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import registered_toy as toy
from pipeline.registry import models
from pipeline.params.register import RegisterSettings
root = Path(sys.argv[1])
training = models.tracking.Training(root / "artifacts/model", root / "artifacts/report", lineage=toy.LINEAGE)
{before}
print(models.register_run(training, RegisterSettings(name="toy"), root)["version"])
"""


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project under an awkward name, its model registered twice."""
    root = tmp_path_factory.mktemp("registry") / "pro ject #1 100%"
    training = toy.project(root)
    first = models.register_run(training, SETTINGS, root)
    assert first == models.register_run(training, SETTINGS, root)
    assert (first["version"], first["aliases"]) == (1, ["candidate", "champion"])
    return root


@pytest.fixture
def store(registered: Path) -> Iterator[TrackingStore]:
    with opened(registered) as found:
        yield found


def _start(code: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PYTHON, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _register(root: Path, before: str = "") -> subprocess.Popen[str]:
    return _start(REGISTER.replace("{before}", before), str(root), str(Path(__file__).parent), cwd=root)


def _answer(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    return out.strip()


# --- one run, one version ---------------------------------------------------------------------


def test_a_repeat_makes_no_second_run_model_or_version(store: TrackingStore) -> None:
    experiment = store.client.get_experiment_by_name("zerosum")
    assert experiment is not None
    assert len(store.client.search_runs([experiment.experiment_id])) == 1
    assert len(store.client.search_logged_models([experiment.experiment_id])) == 1
    assert [version.version for version in models.versions(store, "toy")] == [1]


def test_the_run_shows_params_curves_data_and_files(store: TrackingStore, registered: Path) -> None:
    version = store.client.get_model_version("toy", "1")
    run = store.client.get_run(str(version.run_id))
    assert run.info.status == "FINISHED"
    assert run.data.params["train.lr"] == "0.0002"
    assert run.data.params["train.name_s_"] == '["a", "b"]'
    assert run.data.params["where"] == "./data"
    assert len(run.data.params["long"]) == tracking.LONGEST_PARAM
    losses = store.client.get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in losses) == [(64 * row, float(row)) for row in range(1200)]
    wild = {point.step: point.value for point in store.client.get_metric_history(run.info.run_id, "gradient")}
    assert np.isnan(wild[192])
    assert wild[256] > 1e308
    assert run.data.metrics["score/frechet_classifier"] == 3.0
    assert "absent" not in run.data.metrics
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == ("ef" * 32)[:36]
    logged = {file.path for folder in ("report", "provenance") for file in _list(store, run.info.run_id, folder)}
    assert logged == {
        "report/metrics.json",
        "report/scores.json",
        "report/report.html",
        "provenance/model.json",
        "provenance/params.yaml",
    }


def _list(store: TrackingStore, run_id: str, folder: str) -> list[object]:
    return list(store.client.list_artifacts(run_id, folder))


def test_the_version_is_tagged_with_weights_scores_and_lineage(store: TrackingStore, registered: Path) -> None:
    _, card = open_model(registered / "artifacts/model")
    tags = store.client.get_model_version("toy", "1").tags
    assert tags["zerosum.weights_sha256"] == card.weights_sha256
    assert tags["score.frechet_classifier"] == "3.0"
    assert tags["lineage.manifest_sha256"] == "ef" * 32
    assert tags["provenance.manifest_sha256"] == "ab" * 32


def test_nothing_logged_names_a_local_path(store: TrackingStore, registered: Path) -> None:
    kept = registered / "mlartifacts"
    needles = [str(registered).encode(), registered.as_uri().encode(), str(Path.home()).encode(), b"/zerosum-"]
    for file in filter(Path.is_file, kept.rglob("*")):
        assert not any(needle in file.read_bytes() for needle in needles), file
    version = store.client.get_model_version("toy", "1")
    run = store.client.get_run(str(version.run_id))
    logged = store.client.get_logged_model(version.source.removeprefix("models:/"))
    texts = [*version.tags.values(), *run.data.tags.values(), *run.data.params.values(), *logged.tags.values()]
    assert not [text for text in texts if str(registered) in text or str(Path.home()) in text]


def test_a_killed_registration_is_completed(tmp_path: Path) -> None:
    toy.project(tmp_path)
    killed = _register(
        tmp_path,
        "import os, signal\nmodels._make_model = lambda store, name: os.kill(os.getpid(), signal.SIGKILL)",
    )
    killed.communicate(timeout=200)
    assert killed.returncode == -signal.SIGKILL
    assert _answer(_register(tmp_path)) == "1"
    with opened(tmp_path) as store:
        experiment = store.client.get_experiment_by_name("zerosum")
        assert experiment is not None
        assert len(store.client.search_runs([experiment.experiment_id])) == 1
        assert len(store.client.search_logged_models([experiment.experiment_id])) == 1


def test_four_processes_that_meet_an_empty_project_make_one_version(tmp_path: Path) -> None:
    toy.project(tmp_path)
    assert [_answer(process) for process in [_register(tmp_path) for _ in range(4)]] == ["1"] * 4
    with opened(tmp_path) as store:
        assert len(models.versions(store, "toy")) == 1
    assert not list(tmp_path.glob(".mlflow.db*"))


def test_of_two_versions_that_two_clients_made_the_first_stays(tmp_path: Path) -> None:
    training = toy.project(tmp_path)
    models.register_run(training, SETTINGS, tmp_path)
    with opened(tmp_path) as store:
        first = store.client.get_model_version("toy", "1")
        store.client.create_model_version(
            "toy", first.source, tags={tracking.WEIGHTS_TAG: first.tags[tracking.WEIGHTS_TAG]}
        )
        assert len(models.versions(store, "toy")) == 2
    assert models.register_run(training, SETTINGS, tmp_path)["version"] == 1
    with opened(tmp_path) as store:
        assert [version.version for version in models.versions(store, "toy")] == [1]


# --- serving ----------------------------------------------------------------------------------


def test_a_process_without_this_project_draws_the_same_bytes(registered: Path, tmp_path: Path) -> None:
    generator, _ = open_model(registered / "artifacts/model")
    here = np.moveaxis(generator.sample(3, np.array([0, 1, 2]), seed=7), 1, -1)
    expected = f"(3, 8, 8, 1) uint8 {hashlib.sha256(np.ascontiguousarray(here).tobytes()).hexdigest()}"
    uri = f"sqlite:///{registered / 'mlflow.db'}"
    for process in [_start(STRANGER, uri, cwd=tmp_path) for _ in range(2)]:
        assert _answer(process) == expected


def test_models_of_every_family_are_served_side_by_side(tmp_path: Path) -> None:
    expected: list[str] = []
    for family in toy.SMALL:
        folder = tmp_path / family
        toy.model(folder, family)
        generator, card = open_model(folder)
        serving.build(folder, card, conditional=generator.conditional, target=folder / "served")
        drawn = np.moveaxis(generator.sample(3, np.array([0, 1, 2]), seed=7), 1, -1)
        expected.append(hashlib.sha256(np.ascontiguousarray(drawn).tobytes()).hexdigest())
    assert len(set(expected)) == len(toy.SMALL)
    folders = [str(tmp_path / family / "served") for family in toy.SMALL]
    assert _answer(_start(SIDE_BY_SIDE, *folders, cwd=tmp_path)).split() == expected


def test_wrong_requests_are_refused_in_words(store: TrackingStore) -> None:
    from mlflow.exceptions import MlflowException

    served = serving.load("models:/toy@champion")
    assert served.classes == ("zero", "one", "two")
    assert served.sample(2, [0, 2], 0, 1.0).shape == (2, 8, 8, 1)
    model = served.model
    for rows, params, words in (
        ([{"label": "cat"}], {}, "'cat' is no class; the classes are zero, one, two"),
        ([{"label": None}], {}, "row 0 is missing"),
        ([{"label": "2"}], {}, "for the class at index 2, 'two', write 2 in the column `label_index`"),
        ([{"label_index": 3}], {}, "is 3, which is no index of a class; the 3 classes are 0 … 2"),
        ([{}], {}, "give the column `label`"),
        ([{"label": "one"}], {"seed": -1}, "seed must be from 0"),
        ([{"label": "one"}], {"truncation": float("inf")}, "truncation must be 0 or more and finite"),
    ):
        with pytest.raises(MlflowException, match=words):
            model.predict(rows, params=params)
    for predict in (model.predict, lambda rows, params: model.unwrap_python_model().predict(None, rows, params)):
        with pytest.raises(MlflowException, match=r"unknown params \['sead'\]; known: \['seed', 'truncation'\]"):
            predict([{"label": "one"}], params={"sead": 1})
    with pytest.raises(UserError, match="the model refuses: seed must be from 0"):
        served.sample(1, [0], 2**63, 1.0)


def test_an_unconditional_model_draws_n_or_a_sample_a_row(tmp_path: Path) -> None:
    import pandas as pd

    training = toy.project(tmp_path, conditional=False, channels=3)
    generator, card = open_model(training.model)
    serving.build(training.model, card, conditional=generator.conditional, target=tmp_path / "served")
    with opened(tmp_path, create=True):
        served = serving.load(str(tmp_path / "served"))
        drawn = served.model.predict(pd.DataFrame({"n": [2, 3]}), params={"seed": 5})
        assert np.array_equal(drawn, np.moveaxis(generator.sample(5, seed=5), 1, -1))
        assert np.array_equal(served.model.predict([{"label": None}] * 2, params={"seed": 5}), drawn[:2])
        with pytest.raises(Exception, match="unconditional: leave `label` out"):
            served.model.predict([{"label": "1"}])


def test_a_changed_weight_file_is_refused(tmp_path: Path) -> None:
    training = toy.project(tmp_path)
    _, card = open_model(training.model)
    serving.build(training.model, card, conditional=True, target=tmp_path / "served")
    weights = tmp_path / "served/artifacts/model/generator.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="its manifest says"), opened(tmp_path, create=True):
        serving.load(str(tmp_path / "served"))


def test_generate_writes_equal_pictures_from_the_registry_and_the_folder(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registered)
    request = generate.SampleRequest(seed=3, truncation=0.7, labels=("two", "zero"))
    generate.generate("models:/toy/1", tmp_path / "a", 10, request)
    written = generate.generate("artifacts/model", tmp_path / "b", 10, request)
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == [f"{index:05d}.png" for index in range(10)]
    assert written.grid == tmp_path / "b-grid.png"
    assert (tmp_path / "a-grid.png").read_bytes() == written.grid.read_bytes()
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert written.older == 0
    by_index = generate.SampleRequest(seed=3, truncation=0.7, indices=(2, 0))
    assert generate.generate("models:/toy/1", tmp_path / "b", 4, by_index).older == 6
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    with pytest.raises(UserError, match=r"--label: '0' is no class; .* index 0, 'zero', write --label-index 0"):
        generate.generate(
            "models:/toy/1", tmp_path / "c", 4, generate.SampleRequest(seed=3, truncation=0.7, labels=("0",))
        )


# --- promotion --------------------------------------------------------------------------------


def test_promotion_and_rollback(tmp_path: Path) -> None:
    for seed, value in ((0, 3.0), (1, 4.0), (2, 2.0)):
        found = models.register_run(toy.project(tmp_path, seed=seed, value=value), SETTINGS, tmp_path)
    assert found["aliases"] == ["candidate"]
    with opened(tmp_path) as store:
        with pytest.raises(UserError, match="worse by 1") as refusal:
            models.promote(store, SETTINGS, 2)
        assert "candidate: frechet_classifier 4" in str(refusal.value)
        assert "champion:  frechet_classifier 3" in str(refusal.value)
        assert _champion(store) == "1"
        models.promote(store, SETTINGS, 3)
        assert models.promote(store, SETTINGS, 3).reasons == ("version 3 is champion already",)
        models.promote(store, SETTINGS, 2, "it draws nicer sevens")
        tags = store.client.get_model_version("toy", "2").tags
        assert (tags["previous_champion"], tags["promotion.forced"]) == ("3", "yes")
        assert tags["promotion.reason"] == "it draws nicer sevens"
        assert models.rollback(store, SETTINGS) == (2, 3)
        assert models.rollback(store, SETTINGS) == (3, 1)
        with pytest.raises(UserError, match="no champion is known before version 1"):
            models.rollback(store, SETTINGS)
        assert _champion(store) == "1"
        with pytest.raises(UserError, match="has no version 9; it has 3, 2, 1"):
            models.promote(store, SETTINGS, 9)


def _champion(store: TrackingStore) -> str:
    return str(store.client.get_model_version_by_alias("toy", "champion").version)


def test_records_of_unlike_protocols_decide_nothing(tmp_path: Path) -> None:
    models.register_run(toy.project(tmp_path, value=3.0), SETTINGS, tmp_path)
    training = toy.project(tmp_path, seed=1, value=1.0)
    from pipeline.formats.report import save_scores

    save_scores(training.report, [toy.record(1.0, extractor="99" * 32)])
    models.register_run(training, SETTINGS, tmp_path)
    with opened(tmp_path) as store, pytest.raises(UserError, match=r"unlike protocols .*extractor"):
        models.promote(store, SETTINGS, 2)


# --- stores -----------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("these are words, and there are enough of them\n" * 100)
    with pytest.raises(UserError, match="not a readable sqlite database"), opened(tmp_path):
        pass


def test_opening_leaves_the_environment_as_it_was(registered: Path) -> None:
    import mlflow

    with opened(registered) as store:
        assert mlflow.get_tracking_uri() == store.address.uri == f"sqlite:///{registered / 'mlflow.db'}"
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_server_that_is_away_is_reported_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()
    for uri in ("http://ann:s3cret@127.0.0.1:9", "postgresql://ann:s3cret@127.0.0.1:9/db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UserError, match="does not answer") as error, opened(tmp_path):
            pass
        assert "s3cret" not in str(error.value)
        assert "127.0.0.1:9" in str(error.value)
    assert time.monotonic() - begun < 20


def test_a_server_that_accepts_and_says_nothing_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mute.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(UserError, match="does not answer"), opened(tmp_path):
            pass
        assert time.monotonic() - begun < 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow server of our own."""
    with mlflow_server.serving(tmp_path_factory.mktemp("server")) as url:
        yield url


def test_everything_through_a_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = toy.project(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    first = models.register_run(training, SETTINGS, tmp_path)
    assert first == models.register_run(training, SETTINGS, tmp_path)
    assert (first["version"], first["aliases"]) == (1, ["candidate", "champion"])
    generator, _ = open_model(training.model)
    here = np.moveaxis(generator.sample(3, np.array([0, 1, 2]), seed=7), 1, -1)
    drawn = _answer(_start(STRANGER, server, cwd=tmp_path))
    assert drawn.endswith(hashlib.sha256(np.ascontiguousarray(here).tobytes()).hexdigest())
    models.register_run(toy.project(tmp_path, seed=1, value=2.0), SETTINGS, tmp_path)
    with opened(tmp_path) as store:
        losses = store.client.get_metric_history(first["run_id"], "loss")
        assert len(losses) == 1200
        models.promote(store, SETTINGS, 2)
        assert models.rollback(store, SETTINGS) == (2, 1)
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlartifacts").exists()
