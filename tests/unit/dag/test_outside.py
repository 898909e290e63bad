"""What travels with a job though no stage made it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import objects
import pytest
from PIL import Image

from pipeline import params as whole
from pipeline.dag import outside, remote
from pipeline.data import packing, parcels
from pipeline.errors import SettingsError
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


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with objects.s3() as uri:
        yield uri


@pytest.mark.parametrize("kind", [pytest.param("s3", marks=pytest.mark.slow), "shared"])
def test_a_source_that_only_this_machine_has_travels(
    kind: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """Into a shared folder too, where its path is one of this project."""
    storage = str(request.getfixturevalue("bucket")) if kind == "s3" else str(here / "shared")
    chance = np.random.default_rng(0)
    for number in range(20):
        path = here / "pictures" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    chosen = {"ingest.source": {"name": "image_folder", "folder": "pictures"}, "run.storage": storage}
    params, store = settings(chosen), Store(storage)
    packing.ingest(params.ingest, here / "shards")
    listing = outside.sent_source(store, params, "ingest")
    assert capsys.readouterr().out == "sending the items of image_folder . 20\n"
    parcels.receive(store, listing, here / "job")
    (here / "pictures").rename(here / "elsewhere")
    monkeypatch.setenv(outside.SOURCE, str(here / "job"))
    packing.ingest(params.ingest, here / "afar", source=outside.source(params))
    assert (here / "afar/manifest.json").read_bytes() == (here / "shards/manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("stage", "storage", "source"),
    [
        pytest.param("ingest", S3, {"name": "image_folder", "folder": "of-the-head"}, id="files of the cluster"),
        pytest.param("ingest", S3, {"name": "digits"}, id="a source without files"),
        pytest.param("ingest", "work", {"name": "image_folder", "folder": "/"}, id="a shared folder"),
        pytest.param("train", S3, {"name": "image_folder", "folder": "pictures"}, id="another stage"),
    ],
)
@pytest.mark.usefixtures("here")
def test_nothing_travels(stage: str, storage: str, source: dict[str, Any]) -> None:
    """Where it did, it would be an error: nobody answers at S3, and there is no picture in the folder."""
    params = settings({"ingest.source": source, "run.storage": storage})
    assert outside.sent_source(Store(storage), params, stage) == ""


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_source_that_is_not_fit_is_refused_before_it_is_sent(bucket: str) -> None:
    storage = bucket.replace("/runs", "/unfit")
    params = settings({"ingest.source": {"name": "image_folder", "folder": "pictures"}, "run.storage": storage})
    with pytest.raises(SettingsError, match=r"ingest\.source\.folder: 'pictures' is empty"):
        outside.sent_source(Store(storage), params, "ingest")
    assert Store(storage).names("blobs") == []


@pytest.mark.parametrize(
    ("stage", "folder", "storage", "told"),
    [
        ("ingest", "/", "/shared/work", True),
        ("ingest", "/", S3, False),
        ("ingest", "pictures", "/shared/work", False),
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
