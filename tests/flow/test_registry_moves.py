"""The embedded registry and its project: moved, copied, in an experiment's copy, with parts of it gone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import registered_toy as toy

from pipeline.cli import register as command
from pipeline.errors import UserError
from pipeline.formats.search import Best, save_best
from pipeline.params.register import RegisterSettings
from pipeline.registry import models, records, serving
from pipeline.registry.addresses import RECEIPT
from pipeline.registry.store import TrackingStore, opened

pytestmark = [
    pytest.mark.slow,  # a real store for each
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own, of SQLAlchemy and pydantic
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETTINGS = RegisterSettings(name="toy")

ANOTHER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import registered_toy as toy
from pipeline.registry import models
from pipeline.params.register import RegisterSettings
root = Path(sys.argv[1])
print(models.register_run(toy.project(root, seed=9, value=7.0), RegisterSettings(name="toy"), root)["version"])
"""


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model is registered by the command; each test works on a copy."""
    root = tmp_path_factory.mktemp("made") / "project"
    toy.project(root)
    save_best(root / "artifacts/search", Best({}))
    (root / "params.yaml").write_text("register: {name: toy}\n")
    return root


def _copy(made: Path, target: Path) -> Path:
    return Path(shutil.copytree(made, target, symlinks=True))


def _opens(store: TrackingStore, uri: str = "models:/toy@champion") -> bool:
    for name in [name for name in sys.modules if name.startswith("zerosum_")]:
        del sys.modules[name]  # the code that travelled with a model, from wherever it was read last
    return serving.load(uri).sample(2, [0, 1], 0, 1.0).shape == (2, 8, 8, 1)


def _addresses(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        return [line for line in connection.iterdump() if "file://" in line]


@pytest.fixture(scope="module")
def registered(made: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(made)
        assert command.register()[0] == "toy version 1: candidate, champion"
        assert command.register()[-1] == "it was registered already: nothing had to be done"
    return made


def test_the_receipt_names_the_version_and_the_registry(registered: Path) -> None:
    receipt = json.loads((registered / RECEIPT).read_text())
    assert {**receipt, "run_id": ""} == {
        "name": "toy",
        "version": 1,
        "aliases": ["candidate", "champion"],
        "registry": "sqlite:///mlflow.db",
        "run_id": "",
    }


def test_a_moved_project_has_its_models_and_leaves_nothing_behind(registered: Path, tmp_path: Path) -> None:
    old, new = _copy(registered, tmp_path / "old"), tmp_path / "new place"
    with opened(old):
        pass
    old.rename(new)
    # In its place comes another project, with a model of the same name.
    old.mkdir()
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-W", "ignore", "-c", ANOTHER, str(old), here], check=True, cwd=new, timeout=280)
    with opened(new) as store:
        assert _opens(store)
        assert (serving.model_folder("models:/toy/1", tmp_path / "fetched") / "model.json").is_file()
        run = json.loads((new / RECEIPT).read_text())["run_id"]
        assert [record.value for record in records.of_run(store, run)] == [3.0]
    lines = _addresses(new)
    assert lines
    assert not [line for line in lines if f"{old.as_uri()}/" in line]
    shutil.rmtree(old)
    assert models.register_run(toy.project(new, seed=1), SETTINGS, new)["version"] == 2
    with opened(new) as store:
        assert _opens(store, "models:/toy@candidate")
    assert not old.exists()


def test_a_copy_speaks_of_its_own_files(registered: Path, tmp_path: Path) -> None:
    copy = _copy(registered, tmp_path / "copy")
    before = _addresses(registered)
    with opened(copy) as store:
        assert _opens(store)
        run = json.loads((copy / RECEIPT).read_text())["run_id"]
        store.client.log_artifact(run, str(copy / "params.yaml"), "here")
    assert list(copy.rglob("here/params.yaml"))
    assert not list(registered.rglob("here"))
    assert _addresses(registered) == before


def test_files_that_are_gone_are_named_and_come_back(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _copy(registered, tmp_path / "project")
    shutil.rmtree(root / "mlartifacts")
    run = json.loads((root / RECEIPT).read_text())["run_id"]
    with opened(root) as store:
        for attempt in (
            lambda: serving.load("models:/toy@champion"),
            lambda: serving.model_folder("models:/toy/1", tmp_path / "fetched"),
        ):
            with pytest.raises(UserError, match="the files of version 1 are gone") as refused:
                attempt()
            assert str(root / "mlartifacts/zerosum/models") in str(refused.value)
            assert "zerosum register" in str(refused.value)
        with pytest.raises(UserError, match="the files of this run are gone"):
            records.of_run(store, run)
    assert not (root / "mlartifacts").exists()
    monkeypatch.chdir(root)
    told = command.register()
    assert told[0] == "toy version 1: candidate, champion"
    assert told[1] == "  the files of version 1 were gone from the store, and are there again"
    with opened(root) as store:
        assert _opens(store)
        assert [record.value for record in records.of_run(store, run)] == [3.0]
        assert [version.version for version in models.versions(store, "toy")] == [1]
    # One file alone, of those that the version needs.
    (weights,) = root.glob("mlartifacts/**/artifacts/model/generator.safetensors")
    weights.unlink()
    assert len(command.register()) == 3
    assert weights.is_file()


def test_what_was_deleted_by_hand_is_made_good(registered: Path, tmp_path: Path) -> None:
    root = _copy(registered, tmp_path / "project")
    # The same lineage each time, so that the run is the same one until it is deleted.
    training = toy.project(root)
    first = models.register_run(training, SETTINGS, root)
    with opened(root) as store:
        store.client.set_registered_model_alias("toy", "mine", "1")
        store.client.delete_registered_model_alias("toy", "candidate")
        store.client.delete_registered_model_alias("toy", "champion")
    assert models.register_run(training, SETTINGS, root)["aliases"] == ["candidate", "champion", "mine"]

    with opened(root) as store:
        source = str(store.client.get_model_version("toy", "1").source)
        store.client.delete_logged_model(source.removeprefix("models:/"))
    work = models.Work()
    second = models.register_run(training, SETTINGS, root, work)
    assert (second["version"], second["aliases"]) == (2, ["candidate", "champion", "mine"])
    assert work.mended == ["the logged model of version 1 had been deleted: version 2 takes its place and its aliases"]
    with opened(root) as store:
        assert [version.version for version in models.versions(store, "toy")] == [2]
        assert _opens(store)
        store.client.delete_run(first["run_id"])
    third = models.register_run(training, SETTINGS, root)
    assert (third["version"], third["run_id"] != first["run_id"]) == (2, True)

    with opened(root) as store:
        store.client.delete_registered_model("toy")
        with pytest.raises(UserError, match=r"holds no model 'toy'.*`zerosum register`"):
            models.versions(store, "toy")
    assert models.register_run(training, SETTINGS, root)["version"] == 1
    with opened(root) as store:
        assert _opens(store)
        experiment = store.client.get_experiment_by_name("zerosum")
        assert experiment is not None
        store.client.delete_experiment(experiment.experiment_id)
    with pytest.raises(UserError, match="was deleted; bring it back with") as refused:
        models.register_run(training, SETTINGS, root)
    line = str(refused.value).split("`")[1]
    assert line == f"MLFLOW_TRACKING_URI=sqlite:///{root}/mlflow.db mlflow experiments restore -x 1"


def test_an_experiment_s_copy_registers_in_the_project(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _copy(registered, tmp_path / "project")
    (root / ".git").mkdir()
    copy = root / ".dvc/tmp/exps/standalone/tmpab12"
    training = toy.project(copy, seed=4, value=2.0)
    save_best(copy / "artifacts/search", Best({}))
    (copy / "params.yaml").write_text("register: {name: toy}\n")
    monkeypatch.setenv("DVC_EXP_NAME", "fiery-newt")
    monkeypatch.chdir(copy)
    assert command.register()[0] == "toy version 2: candidate"
    receipt = json.loads((copy / RECEIPT).read_text())
    assert (receipt["version"], receipt["registry"]) == (2, "sqlite:///mlflow.db")
    assert not (copy / RECEIPT).parent.is_symlink()
    # The project's own out says what was registered last in its registry, as after `dvc exp apply`.
    assert json.loads((root / RECEIPT).read_text())["version"] == 2
    assert not list(copy.glob("ml*"))
    shutil.rmtree(copy)
    with opened(root) as store:
        assert _opens(store, "models:/toy/2")
        tags = store.client.get_run(receipt["run_id"]).data.tags
        assert tags["zerosum.dvc_experiment"] == "fiery-newt"
    assert training.model == copy / "artifacts/model"


def test_a_lost_database_is_made_anew(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _copy(registered, tmp_path / "project")
    (root / "mlflow.db").unlink()
    with pytest.raises(UserError, match=r"is gone; .*toy version 1 was registered in it"), opened(root):
        pass
    assert not (root / "mlflow.db").exists()
    # Who makes a new one without registering lets DVC miss the receipt.
    with opened(root, create=True):
        assert not (root / RECEIPT).exists()
    monkeypatch.chdir(root)
    assert command.register()[0] == "toy version 1: candidate, champion"
    assert (root / RECEIPT).is_file()
    with opened(root) as store:
        assert _opens(store)


@pytest.mark.parametrize("name", ["a?b", "100% é#&'\"+:=@;."])
def test_folders_of_awkward_names_hold_a_registry(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = _copy(registered, tmp_path / name)
    (root / "mlflow.db").unlink()
    shutil.rmtree(root / "mlartifacts")
    monkeypatch.chdir(root)
    assert command.register()[0] == "toy version 1: candidate, champion"
    with opened(root) as store:
        assert _opens(store)
        assert (serving.model_folder("models:/toy/1", tmp_path / "fetched") / "model.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {name, "fetched"}
