from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline import params as whole
from pipeline.errors import UserError
from pipeline.registry import registering
from pipeline.registry.addresses import RECEIPT, resolve
from pipeline.registry.models import Registered, Work
from pipeline.registry.store import TrackingStore

MADE = Registered(name="to y", version=2, run_id="ab", aliases=["candidate"])


def test_the_receipt_says_where_it_was_registered(tmp_path: Path) -> None:
    root = tmp_path / "project"
    for uri, registry in (
        ("", "sqlite:///mlflow.db"),
        ("sqlite:///runs/m.db", "sqlite:///runs/m.db"),
        (f"sqlite:///{tmp_path / 'far/m.db'}", f"sqlite:///{tmp_path / 'far/m.db'}"),
        ("http://ann:s3cret@host:5000", "http://***@host:5000"),
    ):
        registering.leave_receipt(root, MADE, resolve(root, {"MLFLOW_TRACKING_URI": uri}))
        assert json.loads((root / RECEIPT).read_text()) == {**MADE, "registry": registry}
        assert (root / RECEIPT).parent.is_symlink() is not uri.startswith("http")
    assert [path.name for path in (root / RECEIPT).parent.iterdir()] == ["registration.json"]


def test_a_receipt_is_lost_with_the_database(tmp_path: Path) -> None:
    registering.leave_receipt(tmp_path, MADE, resolve(tmp_path, {}))
    folder = (tmp_path / RECEIPT).parent
    assert str(folder.readlink()) == "../../mlflow.db-registered/to y"
    shutil.rmtree(tmp_path / "mlflow.db-registered")
    assert not (tmp_path / RECEIPT).exists()
    registering.leave_receipt(tmp_path, MADE, resolve(tmp_path, {}))
    assert (tmp_path / RECEIPT).is_file()


def test_in_a_copy_for_an_experiment_it_is_a_plain_file_and_the_projects_is_written_too(tmp_path: Path) -> None:
    copy = tmp_path / ".dvc/tmp/exps/standalone/tmp1"
    copy.mkdir(parents=True)
    registering.leave_receipt(copy, MADE, resolve(copy, {}))
    assert not (copy / RECEIPT).parent.is_symlink()
    beside = tmp_path / "mlflow.db-registered/to y" / RECEIPT.name
    assert json.loads(beside.read_text()) == json.loads((copy / RECEIPT).read_text())


def test_a_receipt_is_not_rewritten_for_aliases_that_moved(tmp_path: Path) -> None:
    address = resolve(tmp_path, {})
    registering.leave_receipt(tmp_path, MADE, address)
    before = (tmp_path / RECEIPT).read_bytes()
    registering.leave_receipt(tmp_path, Registered(**{**MADE, "aliases": ["candidate", "champion"]}), address)
    assert (tmp_path / RECEIPT).read_bytes() == before
    registering.leave_receipt(tmp_path, Registered(**{**MADE, "version": 3}), address)
    assert json.loads((tmp_path / RECEIPT).read_text())["version"] == 3


def test_lines_can_be_pasted_into_a_shell() -> None:
    params = whole.check({})
    told = registering.lines(MADE, params, Work(mended=["its files are there again"]))
    assert told == [
        "to y version 2: candidate",
        "  its files are there again",
        "  zerosum generate --model 'models:/to y@candidate' --n 64 --out samples",
        "  zerosum promote --version 2",
    ]
    champion = registering.lines(Registered(**{**MADE, "aliases": ["champion"]}), params, Work())
    assert len(champion) == 2


def test_artefacts_of_other_settings_are_not_registered_by_hand(tmp_path: Path) -> None:
    raw = {"train": {"examples": 64000}, "register": {"name": "toy"}}
    locked = {
        "train": {"params": {"params.yaml": {"train": {"examples": 64000}}}},
        "evaluate": {"params": {"params.yaml": {"register.name": "other"}}},
        "register": {"params": {"params.yaml": {"register": {"name": "other"}}}},
    }
    registering.settled(whole.check(raw), tmp_path)  # without a dvc.lock nothing is known
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}))
    registering.settled(whole.check(raw), tmp_path)
    with pytest.raises(UserError, match=r"has changed since artifacts/ were made: train \(train\); `dvc repro`"):
        registering.settled(whole.check({**raw, "train": {"examples": 128000}}), tmp_path)


class _Client:
    def get_registered_model(self, name: str) -> object:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

        raise MlflowException("none", RESOURCE_DOES_NOT_EXIST)


def test_a_model_that_is_not_there_is_said_to_be_elsewhere_where_it_is(tmp_path: Path) -> None:
    from pipeline.registry import models

    store = TrackingStore(resolve(tmp_path, {}), tmp_path, _Client())  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="`zerosum register` registers what artifacts/ hold") as here:
        models.versions(store, "to y")
    assert "says that" not in str(here.value)
    registering.leave_receipt(tmp_path, MADE, resolve(tmp_path, {"MLFLOW_TRACKING_URI": "http://host:5000"}))
    with pytest.raises(UserError, match="registered in http://host:5000"):
        models.versions(store, "to y")
