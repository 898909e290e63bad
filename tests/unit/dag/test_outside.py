"""What travels with a job though no stage made it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import checkout
import numpy as np
import pytest
from PIL import Image
from processes import finished

from pipeline import params as whole
from pipeline.dag import outside, remote
from pipeline.storage.store import Store

ROOT = Path(__file__).parents[3]
S3 = "s3://bucket/prefix?region=x"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workstation with pictures, an extractor's weights and statistics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    for name in ("weights.safetensors", "statistics.npz", "cache/inception-2015-12-05.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def settings(overrides: dict[str, Any]) -> whole.Params:
    return whole.load(ROOT / "params.yaml").with_overrides(overrides)


@pytest.mark.parametrize(
    ("stage", "storage", "source", "stays"),
    [
        pytest.param("ingest", S3, {"name": "image_folder", "folder": "pictures"}, True, id="files of this machine"),
        pytest.param("ingest", "work", {"name": "image_folder", "folder": "pictures"}, True, id="of this project"),
        pytest.param("ingest", "work", {"name": "image_folder", "folder": "/"}, False, id="a shared folder"),
        pytest.param("ingest", S3, {"name": "image_folder", "folder": "of-the-head"}, False, id="files of the cluster"),
        pytest.param("ingest", S3, {"name": "digits"}, False, id="a source without files"),
        pytest.param("train", S3, {"name": "image_folder", "folder": "pictures"}, False, id="another stage"),
    ],
)
@pytest.mark.usefixtures("here")
def test_ingest_is_no_job_where_only_this_machine_has_its_files(
    stage: str, storage: str, source: dict[str, Any], stays: bool
) -> None:
    assert remote.stays(settings({"ingest.source": source, "run.storage": storage}), stage) is stays


@pytest.mark.slow
def test_it_is_done_here_though_stages_are_jobs(tmp_path: Path) -> None:
    """Nobody answers at the cluster's address."""
    expected = checkout.copy(tmp_path / "expected", {"ingest.source": {"name": "image_folder", "folder": "pictures"}})
    chance = np.random.default_rng(0)
    for number in range(40):
        path = expected / "pictures" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    project = tmp_path / "project"
    shutil.copytree(expected, project, symlinks=True)
    checkout.configure(project, {"run.address": "http://127.0.0.1:9", "run.storage": S3})
    for root in (expected, project):
        finished(root, "ingest")
    assert checkout.hashes(project, "shards") == checkout.hashes(expected, "shards")


@pytest.mark.parametrize(
    ("stage", "folder", "storage", "told"),
    [
        ("ingest", "/", "/shared/work", True),
        ("ingest", "of-the-head", "/shared/work", False),
        ("train", "pictures", "/shared/work", False),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_refused_job_is_told_where_its_source_was_looked_for(
    stage: str, folder: str, storage: str, told: bool
) -> None:
    """ "Does not exist", says the source of a folder that the workstation has: it is the cluster's that is meant."""
    params = settings({"ingest.source": {"name": "image_folder", "folder": folder}, "run.storage": storage})
    assert ("on the cluster" in remote.whose_folders(params, stage)) is told


@pytest.mark.parametrize(
    ("weights", "arrives"),
    [
        ("weights.safetensors", "weights.safetensors"),
        ("auto", "cache/inception-2015-12-05.safetensors"),
        ("on-the-cluster.pth", None),
    ],
)
def test_a_references_files_arrive_under_their_names(weights: str, arrives: str | None, here: Path) -> None:
    params = settings(
        {
            "reference.extractor": {"name": "inception", "weights": weights},
            "reference.statistics": "statistics.npz",
            "register.metric": "fid",
        }
    )
    store = Store(str(here / "store"))
    bundles = outside.sent(store, params, "reference")
    found = outside.received(store, bundles, here / "job")
    expected = {"reference.statistics": "statistics.npz"} | (
        {"reference.extractor.weights": arrives} if arrives else {}
    )
    assert found.keys() == expected.keys()
    for setting, path in found.items():
        assert Path(path).is_relative_to(here / "job")
        assert Path(path).name == Path(expected[setting]).name
        assert Path(path).read_text() == expected[setting]
    assert outside.sent(store, params, "train") == {}


def test_what_is_told_of_a_file_travels_with_it(here: Path) -> None:
    """A file that was damaged since it was fetched is known by its account, wherever it is read."""
    told = here / "weights.json"
    told.write_text("{}")
    extractor = {"name": "inception", "weights": "weights.safetensors"}
    params = settings({"reference.extractor": extractor, "register.metric": "fid"})
    store = Store(str(here / "store"))
    bundles = outside.sent(store, params, "reference")
    (weights,) = outside.received(store, bundles, here / "job").values()
    assert Path(weights).name == "weights.safetensors"
    assert Path(weights).with_suffix(".json").read_text() == "{}"
    told.write_text('{"sha256": "0"}')
    assert outside.sent(store, params, "reference") != bundles


def test_an_extractor_without_files_sends_none(here: Path) -> None:
    assert outside.sent(Store(str(here / "store")), settings({}), "reference") == {}


def test_a_tilde_is_written_out_before_a_job_reads_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = settings({"ingest.source": {"name": "image_folder", "folder": "~/pictures", "labels": "none"}})
    assert outside.written_out(found) == {"ingest.source.folder": str(tmp_path / "pictures")}
    assert outside.written_out(settings({})) == {}
    listed = settings({"ingest.source": {"name": "image_folder", "folder": "x", "links": ["~/store", "/other"]}})
    assert outside.written_out(listed) == {"ingest.source.links": [str(tmp_path / "store"), "/other"]}
