"""The links that DVC looks through: where they lead, what is refused, and what counts as a change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving import serving

from pipeline import params, watched
from pipeline.data.packing import ingest
from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.settings import override
from pipeline.storage import files

RAW = params.read(Path(__file__).parents[2] / "params.yaml")


def chosen(source: dict[str, Any], **others: Any) -> Params:
    return params.check(override(RAW, {"ingest.source": source, **others}))


def chosen_raw(name: str) -> Params:
    """Settings whose source reads two sub-folders, whatever the family makes of them."""
    return chosen({"name": name, "folder": "pairs", "input": "A", "target": "B"})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a folder of images inside and one beside it."""
    project = tmp_path / "project"
    for folder in (project / "flowers", tmp_path / "outside"):
        for name in ("cat", "dog"):
            (folder / name).mkdir(parents=True)
            for number in range(4):
                pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{number}.png")
    monkeypatch.chdir(project)
    return project


def at(root: Path, stage: str, place: str) -> Path:
    return root / watched.FOLDER / stage / place


def test_the_digits_have_no_links_and_the_repositorys_own_files_stay_as_they_are(root: Path) -> None:
    assert watched.link(root, chosen({"name": "digits"}), "ingest") == []
    for place in watched.PLACES["ingest"]:
        own = Path(__file__).parents[2] / watched.FOLDER / "ingest" / place
        assert not at(root, "ingest", place).is_symlink()
        assert at(root, "ingest", place).read_bytes() == own.read_bytes()
    assert watched.stamp(root, "ingest").files == 0


def test_dvc_watches_every_place_and_no_other() -> None:
    from pipeline.dag.layout import described

    for stage, places in watched.PLACES.items():
        deps = [dep for dep in described(Path(__file__).parents[2], stage)["deps"] if dep.startswith("inputs/")]
        assert sorted(deps) == sorted(f"{watched.FOLDER}/{stage}/{place}" for place in places)


def test_a_relative_path_gives_a_relative_link_and_an_absolute_one_stays(root: Path) -> None:
    watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")
    assert str(at(root, "ingest", "data").readlink()) == "../../flowers"
    assert at(root, "ingest", "data").resolve() == root / "flowers"
    outside = root.parent / "outside"
    watched.link(root, chosen({"name": "image_folder", "folder": str(outside)}), "ingest")
    assert str(at(root, "ingest", "data").readlink()) == str(outside)
    watched.link(root, chosen({"name": "digits"}), "ingest")
    assert at(root, "ingest", "data").read_text() == watched.UNUSED
    assert outside.is_dir()  # what a link led to is left alone


def test_what_lies_at_an_address_is_named_by_what_the_server_says_of_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(root.parent / "cache"))
    (root / "labels.csv").write_text("file,label\n")
    with serving({"/x.zip": b"one", "/labels.csv": b"file,label\n"}) as served:
        both = chosen({"name": "archive", "path": f"{served.url}/x.zip", "labels": f"{served.url}/labels.csv"})
        assert watched.link(root, both, "ingest") == []
        first = at(root, "ingest", "data").read_text()
        assert [found["address"] for found in json.loads(first)] == [f"{served.url}/x.zip", f"{served.url}/labels.csv"]
        assert at(root, "ingest", "more").read_text() == watched.UNUSED
        watched.link(root, both, "ingest")
        assert at(root, "ingest", "data").read_text() == first
        served.files["/x.zip"] = b"two"
        watched.link(root, both, "ingest")
        assert at(root, "ingest", "data").read_text() != first
        beside = chosen({"name": "archive", "path": f"{served.url}/x.zip", "labels": "labels.csv"})
        watched.link(root, beside, "ingest")
        assert at(root, "ingest", "data").resolve() == root / "labels.csv"
        assert len(json.loads(at(root, "ingest", "more").read_text())) == 1
        assert served.fetched == []


def test_a_csv_has_a_place_of_its_own_unless_it_lies_within_the_data(root: Path) -> None:
    for path in ("labels.csv", "flowers/labels.csv"):
        (root / path).write_text("file,label\ncat/0.png,cat\n")
    watched.link(root, chosen({"name": "image_folder", "folder": "flowers", "labels": "labels.csv"}), "ingest")
    assert str(at(root, "ingest", "more").readlink()) == "../../labels.csv"
    watched.link(root, chosen({"name": "image_folder", "folder": "flowers", "labels": "flowers/labels.csv"}), "ingest")
    assert at(root, "ingest", "more").read_text() == watched.UNUSED


def test_folders_that_links_lead_to_are_watched_too(root: Path) -> None:
    outside = root.parent / "outside"
    (root / "views").mkdir()
    for name in ("cat", "dog"):
        (root / "views" / name).symlink_to(outside / name)
    source: dict[str, Any] = {"name": "image_folder", "folder": "views", "links": [str(outside)]}
    watched.link(root, chosen(source), "ingest")
    assert at(root, "ingest", "linked").resolve() == outside
    before = watched.stamp(root, "ingest")
    (outside / "dog/0.png").unlink()
    assert watched.stamp(root, "ingest") != before
    # Links between folders of the data itself need no place of their own.
    (root / "flowers/lion").symlink_to(root / "flowers/cat")
    watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")
    assert at(root, "ingest", "linked").read_text() == watched.UNUSED


@pytest.mark.parametrize("name", ["two_folders", "paired_folder"])
def test_a_domain_that_is_a_link_is_watched(root: Path, name: str) -> None:
    (root / "pairs").mkdir()
    for side in ("A", "B"):
        (root / "pairs" / side).symlink_to(root.parent / "outside" / "cat")
    watched.link(root, chosen_raw(name), "ingest")
    assert at(root, "ingest", "linked").resolve() == root.parent / "outside/cat"


def test_a_place_of_the_project_is_linked_as_such_so_that_it_moves_with_it(root: Path) -> None:
    (root / "more" / "bird").mkdir(parents=True)
    (root / "more" / "bird" / "0.png").write_bytes((root / "flowers" / "cat" / "0.png").read_bytes())
    (root / "flowers" / "bird").symlink_to("../more/bird")
    watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")
    assert str(at(root, "ingest", "linked").readlink()) == "../../more/bird"
    assert at(root, "ingest", "linked").resolve() == root / "more" / "bird"


@pytest.mark.parametrize("target", ["self", "../dog/other", "nowhere"])
def test_links_that_lead_nowhere_are_refused_since_dvc_fails_at_them(root: Path, target: str) -> None:
    (root / "flowers" / "cat" / "self").symlink_to(target)
    (root / "flowers" / "dog" / "other").symlink_to("../cat/self")
    with pytest.raises(UserError, match=r"2 links lead nowhere, such as .*flowers/cat/self\. DVC fails"):
        watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")


def test_a_pipe_in_the_data_is_refused_since_dvc_would_wait_for_it(root: Path) -> None:
    os.mkfifo(root / "flowers" / "cat" / "pipe")
    with pytest.raises(UserError, match="no regular file"):
        watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")


def test_what_dvc_ignores_and_links_upwards_do_no_harm(root: Path) -> None:
    (root / "flowers" / "cat" / ".#0.png").symlink_to("someone@host.1234")  # an editor's lock
    (root / "flowers" / "cat" / "up").symlink_to("..")
    watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")
    assert watched.stamp(root, "ingest").files == 8


def test_what_is_not_here_is_said_and_no_link_leads_nowhere(root: Path) -> None:
    (said,) = watched.link(root, chosen({"name": "image_folder", "folder": "/nowhere/at/all"}), "ingest")
    assert "dvc repro -f -s ingest" in said
    assert at(root, "ingest", "data").read_text() == watched.ABSENT.format("/nowhere/at/all")


@pytest.mark.parametrize("place", ["flowers", "flowers/cat"])
def test_a_project_of_its_own_within_the_data_is_refused(root: Path, place: str) -> None:
    (root / place / ".dvc").mkdir()
    with pytest.raises(UserError, match="a DVC project of its own"):
        watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")


def test_a_folder_that_holds_the_project_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="holds this project itself"):
        watched.link(root, chosen({"name": "image_folder", "folder": ".."}), "ingest")


def test_statistics_and_weights_are_watched_and_fetched_weights_are_not(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(root.parent / "cache"))
    np.savez(root / "cifar10.npz", mu=np.zeros(2), sigma=np.eye(2))
    (root / "own.safetensors").write_bytes(b"weights")
    extractor = {"name": "inception", "tap": 64, "weights": "own.safetensors"}
    changes: dict[str, Any] = {"register.metric": "frechet_inception", "reference.statistics": "cifar10.npz"}
    watched.link(root, chosen({"name": "digits"}, **changes, **{"reference.extractor": extractor}), "reference")
    assert str(at(root, "reference", "statistics").readlink()) == "../../cifar10.npz"
    assert str(at(root, "reference", "weights").readlink()) == "../../own.safetensors"
    # One that lies in the cache, but is named by its path, is a file of the user's.
    cached = files.cache_folder() / "mine.safetensors"
    own = {**extractor, "weights": str(cached)}
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(b"weights")
    watched.link(root, chosen({"name": "digits"}, **changes, **{"reference.extractor": own}), "reference")
    assert str(at(root, "reference", "weights").readlink()) == str(cached)
    auto = {"reference.extractor": {"name": "inception", "tap": 64}, "register.metric": "fid_64"}
    watched.link(root, chosen({"name": "digits"}, **auto), "reference")
    assert at(root, "reference", "weights").read_text() == watched.UNUSED


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda folder: (folder / "cat/9.png").write_bytes(b"new"), True),
        (lambda folder: (folder / "cat/0.png").unlink(), True),
        (lambda folder: (folder / "cat/0.png").write_bytes(b"other"), True),
        (lambda folder: (folder / "cat/0.png").rename(folder / "dog/7.png"), True),
        (lambda folder: os.utime(folder / "cat/0.png", ns=(1, 1)), True),
        (lambda folder: (folder / "cat/.DS_Store").write_bytes(b""), False),
        (lambda folder: (folder / "cat/.hidden").mkdir(), False),
    ],
)
def test_what_counts_as_a_change(root: Path, change: Any, seen: bool) -> None:
    watched.link(root, chosen({"name": "image_folder", "folder": "flowers"}), "ingest")
    before = watched.stamp(root, "ingest")
    assert before.files == 8
    change(root / "flowers")
    assert (watched.stamp(root, "ingest") != before) is seen


def test_shards_and_source_apart_are_noticed(root: Path) -> None:
    settings = chosen({"name": "image_folder", "folder": "flowers"}, **{"ingest.resolution": 8})
    shards, work = root / "artifacts/shards", root / ".work"
    watched.link(root, settings, "ingest")
    assert watched.apart(root, settings, work, shards) == ""  # nothing is packed yet
    ingest(settings.ingest, shards)
    assert watched.apart(root, settings, work, shards) == ""  # as in a clone: nothing is known of the files
    watched.remember(root, work, shards)
    assert watched.apart(root, settings, work, shards) == ""
    (root / "flowers/cat/9.png").write_bytes(b"new")
    assert "9 files now, 8 then" in watched.apart(root, settings, work, shards)
    (root / "flowers/cat/9.png").unlink()
    os.utime(root / "flowers/cat/0.png", ns=(1, 1))
    assert "other sizes or times" in watched.apart(root, settings, work, shards)
    other = chosen({"name": "image_folder", "folder": "flowers"}, **{"ingest.resolution": 16})
    assert "other settings" in watched.apart(root, other, work, shards)


def test_more_files_than_dvc_has_places_for_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "named", lambda *_: {str(n): Path(f"file{n}") for n in range(3)})
    with pytest.raises(UserError, match="DVC can watch two"):
        watched.link(root, chosen({"name": "digits"}), "ingest")
