from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.redaction import redact
from pipeline.registry.addresses import check_place, project_of, resolve


def test_the_default_is_a_database_in_the_project(tmp_path: Path) -> None:
    root = tmp_path / "a b #1 50%"
    address = resolve(root, {})
    assert address.uri == f"sqlite:///{root}/mlflow.db"
    assert address.uri.startswith("sqlite:////")
    assert address.database == root / "mlflow.db"
    assert address.artifacts == (root / "mlartifacts").as_uri()


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("sqlite:///runs/m.db", "sqlite:///{root}/runs/m.db"),
        ("sqlite:////var/m.db", "sqlite:////var/m.db"),
        ("sqlite:///m.db?timeout=5", "sqlite:///{root}/m.db?timeout=5"),
        ("http://host:5000/", "http://host:5000"),
        ("postgresql+psycopg2://u:p@h/db", "postgresql+psycopg2://u:p@h/db"),
        ("  ", "sqlite:///{root}/mlflow.db"),
    ],
)
def test_paths_become_absolute(tmp_path: Path, given: str, uri: str) -> None:
    assert resolve(tmp_path, {"MLFLOW_TRACKING_URI": given}).uri == uri.format(root=tmp_path)


@pytest.mark.parametrize("given", ["mlruns", "./mlruns", "/var/mlruns", "file:///var/mlruns"])
def test_folders_are_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError, match="given up folders"):
        resolve(tmp_path, {"MLFLOW_TRACKING_URI": given})


@pytest.mark.parametrize("given", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_sqlite_in_memory_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(UserError, match="name a file"):
        resolve(tmp_path, {"MLFLOW_TRACKING_URI": given})


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("http://ann:s3cret@host:5000", "s3cret"),
        ("https://tok3n@host/path", "tok3n"),
        ("postgresql://ann:p@ss/w@host/db", "p@ss/w"),
        ("mysql://host/db?user=ann&password=s3cret", "s3cret"),
    ],
)
def test_credentials_are_left_out(tmp_path: Path, uri: str, secret: str) -> None:
    address = resolve(tmp_path, {"MLFLOW_TRACKING_URI": uri})
    assert secret not in address.shown
    assert "host" in address.shown
    assert secret not in redact(f"cannot reach {uri}: ('{secret}' refused)", uri)


@pytest.mark.parametrize(
    "name", ["a b", "100%", "a#b", "a?b", "a&b", "a'b", 'a"b', "a+b", "é", "日本", "a:b", "a=b", "a@b", "dot."]
)
def test_folders_of_any_name_have_a_registry(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    check_place(root, {})
    address = resolve(root, {})
    assert address.database == root / "mlflow.db"
    assert address.shown == f"sqlite:///{root}/mlflow.db"
    assert address.recorded == "sqlite:///mlflow.db"
    from sqlalchemy import make_url

    assert make_url(address.uri).database == str(root / "mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_names_that_mlflow_would_decode_are_refused_before_any_work(tmp_path: Path) -> None:
    for name in ("a%20b", "%41", "50%ff"):
        with pytest.raises(UserError, match="rename the folder, or name a server") as refused:
            check_place(tmp_path / name, {})
        assert str(tmp_path / name) in str(refused.value)
        check_place(tmp_path / name, {"MLFLOW_TRACKING_URI": "http://host:5000"})
    with pytest.raises(UserError, match="given up folders"):
        check_place(tmp_path, {"MLFLOW_TRACKING_URI": "mlruns"})
    with pytest.raises(UserError, match="not UTF-8"):
        check_place(Path("/tmp") / os.fsdecode(b"b\xff"), {})


def test_a_quoted_name_is_the_file_that_mlflow_opens(tmp_path: Path) -> None:
    assert resolve(tmp_path, {"MLFLOW_TRACKING_URI": "sqlite:///my%20runs.db"}).database == tmp_path / "my runs.db"


def test_a_database_elsewhere_is_recorded_by_its_place(tmp_path: Path) -> None:
    address = resolve(tmp_path / "p", {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/shared.db"})
    assert address.recorded == f"sqlite:///{tmp_path}/shared.db"
    assert address.given
    assert not resolve(tmp_path, {}).given


# --- experiments ------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", [".dvc/tmp/exps/tmpab12", ".dvc/tmp/exps/standalone/tmpab12"])
def test_an_experiment_s_copy_has_the_registry_of_its_project(tmp_path: Path, copy: str) -> None:
    (tmp_path / ".git").mkdir()
    root = tmp_path / copy
    root.mkdir(parents=True)
    assert project_of(root) == tmp_path
    assert resolve(root, {}).database == tmp_path / "mlflow.db"
    assert resolve(root, {"MLFLOW_TRACKING_URI": "sqlite:///runs/m.db"}).database == tmp_path / "runs/m.db"
    assert resolve(root, {}).recorded == "sqlite:///mlflow.db"


def test_a_project_below_its_repository_is_found_from_the_copy(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub/project").mkdir(parents=True)
    # DVC at the head of the repository, or with `dvc init --subdir` in the project: the clone is of the repository.
    assert project_of(tmp_path / ".dvc/tmp/exps/tmpab/sub/project") == tmp_path / "sub/project"
    assert project_of(tmp_path / "sub/project/.dvc/tmp/exps/standalone/tmpab/sub/project") == tmp_path / "sub/project"


def test_an_experiment_within_an_experiment_is_of_the_outermost(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert project_of(tmp_path / ".dvc/tmp/exps/tmpab/.dvc/tmp/exps/tmpcd") == tmp_path


def test_any_other_folder_is_a_project_of_its_own(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / ".dvc/tmp", tmp_path / ".dvc/tmp/exps"):
        assert project_of(root) == root
