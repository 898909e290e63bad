"""`zerosum check` refuses what the stages would, and leaves no trace but the links that DVC looks through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import checkout
import pytest
from typer.testing import CliRunner

from pipeline.cli.check import check
from pipeline.cli.main import app
from pipeline.errors import SettingsError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((checkout.ROOT / name).read_bytes())
    (tmp_path / "within").mkdir()
    monkeypatch.chdir(tmp_path / "within")  # a folder of the project, whose paths are those of its root
    return tmp_path


def test_the_projects_own_settings_are_in_order(project: Path) -> None:
    done = CliRunner().invoke(app, ["check"])
    assert (done.exit_code, done.stdout) == (0, "params.yaml is in order: family dcgan\n")
    assert sorted(path.name for path in project.iterdir()) == ["dvc.yaml", "inputs", "params.yaml", "within"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ingest.resolution": 17}, "families.dcgan"),
        ({"ingest.source": {"name": "image_folder", "folder": "nowhere"}}, "ingest.source.folder"),
        ({"ingest.source": {"name": "image_folder", "folder": "~/nowhere"}}, "ingest.source.folder"),
        ({"ingest.source": {"name": "cifar10", "path": "nowhere.tar.gz"}}, "ingest.source.path"),
        ({"reference.statistics": "nowhere.npz"}, "reference.statistics"),
        ({"run.storage": "params.yaml/work"}, "run.storage"),
        ({"reference.extractor": {"name": "inception", "weights": "nowhere"}, "register.metric": "fid"}, "nowhere"),
    ],
)
def test_what_the_stages_would_refuse(project: Path, changes: dict[str, Any], key: str) -> None:
    checkout.configure(project, changes)
    with pytest.raises(SettingsError, match=key):
        check(None)
    assert not (project / ".work").exists()


def test_all_that_is_wrong_is_said_at_once(project: Path) -> None:
    checkout.configure(project, {"ingest.resolution": 17, "reference.statistics": "nowhere.npz"})
    with pytest.raises(SettingsError) as refused:
        check(None)
    assert len(refused.value.problems) == 2


def test_what_only_the_cluster_has_is_left_to_its_job(project: Path) -> None:
    there = {"name": "image_folder", "folder": "/on/the/cluster"}
    storage = {"run.address": "http://127.0.0.1:8265", "run.storage": str(project / "shared")}
    checkout.configure(project, {"ingest.source": there, **storage})
    said = check(None)
    assert any("/on/the/cluster" in line and "8265" in line for line in said[:-1])
    assert said[-1] == "params.yaml is in order: family dcgan"
