"""What travels with a job though no stage made it, and which stage stays where its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import params as whole
from pipeline.formats.store import Store
from stages import _outside, _remote

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
    ("stage", "storage", "folder", "stays"),
    [
        ("ingest", S3, "pictures", True),
        ("ingest", S3, "of-the-head", False),
        ("ingest", "/shared/work", "pictures", False),
        ("reference", S3, "pictures", False),
        ("register", "/shared/work", "pictures", True),
    ],
)
@pytest.mark.usefixtures("here")
def test_ingest_stays_where_its_source_is_alone(stage: str, storage: str, folder: str, stays: bool) -> None:
    source = {"name": "image_folder", "folder": folder}
    assert _remote.stays(settings({"ingest.source": source, "run.storage": storage}), stage) is stays


@pytest.mark.parametrize(
    ("stage", "folder", "told"),
    [("ingest", "pictures", True), ("ingest", "of-the-head", False), ("train", "pictures", False)],
)
@pytest.mark.usefixtures("here")
def test_a_refused_job_is_told_where_its_source_was_looked_for(stage: str, folder: str, told: bool) -> None:
    """ "Does not exist", says the source of a folder that the workstation has: it is the cluster's that is meant."""
    params = settings({"ingest.source": {"name": "image_folder", "folder": folder}, "run.storage": "/shared/work"})
    assert ("on the cluster" in _remote.whose_folders(params, stage)) is told


@pytest.mark.usefixtures("here")
def test_a_source_without_files_goes_anywhere() -> None:
    assert not _remote.stays(settings({"ingest.source": {"name": "digits"}, "run.storage": S3}), "ingest")


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
    bundles = _outside.sent(store, params, "reference")
    found = _outside.received(store, bundles, here / "job")
    expected = {"reference.statistics": "statistics.npz"} | (
        {"reference.extractor.weights": arrives} if arrives else {}
    )
    assert found.keys() == expected.keys()
    for setting, path in found.items():
        assert Path(path).is_relative_to(here / "job")
        assert Path(path).name == Path(expected[setting]).name
        assert Path(path).read_text() == expected[setting]
    assert _outside.sent(store, params, "train") == {}


def test_what_is_told_of_a_file_travels_with_it(here: Path) -> None:
    """A file that was damaged since it was fetched is known by its account, wherever it is read."""
    told = here / "weights.json"
    told.write_text("{}")
    extractor = {"name": "inception", "weights": "weights.safetensors"}
    params = settings({"reference.extractor": extractor, "register.metric": "fid"})
    store = Store(str(here / "store"))
    bundles = _outside.sent(store, params, "reference")
    (weights,) = _outside.received(store, bundles, here / "job").values()
    assert Path(weights).name == "weights.safetensors"
    assert Path(weights).with_suffix(".json").read_text() == "{}"
    told.write_text('{"sha256": "0"}')
    assert _outside.sent(store, params, "reference") != bundles


def test_an_extractor_without_files_sends_none(here: Path) -> None:
    assert _outside.sent(Store(str(here / "store")), settings({}), "reference") == {}
