"""Bundles pushed and pulled by content, in a folder and on a real S3 server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import objects
import pytest

from pipeline.errors import BrokenArtefact, UserError
from pipeline.storage import files
from pipeline.storage.node_cache import NodeCache
from pipeline.storage.store import Store


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with objects.s3() as uri:
        yield uri


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    found = str(request.getfixturevalue("bucket"))
    return found.replace("/runs", f"/{tmp_path.name}")


def tree(root: Path) -> Path:
    (root / "a/deep").mkdir(parents=True)
    (root / "a/one.bin").write_bytes(bytes(range(256)) * 100)
    (root / "a/deep/two.txt").write_text("two")
    (root / "a/deep/same.txt").write_text("two")
    (root / "single.yaml").write_text("x: 1\n")
    (root / "other.txt").write_text("not asked for")
    return root


def test_what_is_pushed_comes_back(uri: str, tmp_path: Path) -> None:
    store, root = Store(uri), tree(tmp_path / "source")
    key = store.push(root, ["a", "single.yaml"])
    assert store.push(root, ["single.yaml", "a"]) == key, "the same content has the same key"
    pulled = Store(uri).pull(key, tmp_path / "target")
    names = sorted(path.relative_to(tmp_path / "target").as_posix() for path in pulled)
    assert names == ["a/deep/same.txt", "a/deep/two.txt", "a/one.bin", "single.yaml"]
    for name in names:
        assert (tmp_path / "target" / name).read_bytes() == (root / name).read_bytes()
    (root / "single.yaml").write_text("x: 2\n")
    assert store.push(root, ["a", "single.yaml"]) != key


def test_equal_bytes_are_stored_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.push(tree(tmp_path / "source"), ["a", "single.yaml"])
    assert len(list((tmp_path / "store/blobs").iterdir())) == 3
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "store/blobs").iterdir()}
    store.push(tmp_path / "source", ["a"])
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_pull_fetches_only_what_is_missing_or_differs(tmp_path: Path) -> None:
    store, root, target = Store(str(tmp_path / "store")), tree(tmp_path / "source"), tmp_path / "target"
    key = store.push(root, ["a"])
    store.pull(key, target)
    kept = (target / "a/one.bin").stat().st_mtime_ns
    (target / "a/deep/two.txt").write_text("torn")
    store.pull(key, target)
    assert (target / "a/deep/two.txt").read_text() == "two"
    assert (target / "a/one.bin").stat().st_mtime_ns == kept


def test_documents(uri: str) -> None:
    store = Store(uri)
    assert not store.holds("jobs/1.json")
    assert store.names("jobs") == []
    store.remove("jobs/1.json")
    store.write("jobs/1.json", {"b": 1, "a": [1.5, None]})
    store.write("jobs/2.json", {})
    assert store.read("jobs/1.json") == {"a": [1.5, None], "b": 1}
    assert store.names("jobs") == ["1.json", "2.json"]
    store.remove("jobs/1.json")
    assert store.names("jobs") == ["2.json"]
    with pytest.raises(BrokenArtefact, match=r"holds no jobs/1\.json"):
        store.read("jobs/1.json")


def test_a_blob_that_changed_is_refused(tmp_path: Path) -> None:
    store, root = Store(str(tmp_path / "store")), tree(tmp_path / "source")
    key = store.push(root, ["a"])
    blob = tmp_path / "store/blobs" / files.sha256_file(root / "a/one.bin")
    blob.write_bytes(b"\0" * blob.stat().st_size)
    with pytest.raises(BrokenArtefact, match="remove it there and push again"):
        store.pull(key, tmp_path / "target")
    assert not (tmp_path / "target/a/one.bin").exists()
    bundle = tmp_path / f"store/bundles/{key}.json"
    bundle.write_bytes(bundle.read_bytes().replace(b"one.bin", b"two.bin"))
    with pytest.raises(BrokenArtefact, match="is not what was pushed"):
        store.pull(key, tmp_path / "target")


def test_a_bundle_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    content = files.canonical_json({"files": {"../evil": {"sha256": "0" * 64, "bytes": 1}}})
    key = files.sha256_bytes(content)
    files.write_bytes(tmp_path / f"store/bundles/{key}.json", content)
    with pytest.raises(BrokenArtefact, match="leads outside its folder"):
        Store(str(tmp_path / "store")).pull(key, tmp_path / "target")


def test_a_push_killed_half_way_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "source")
    whole = Store(str(tmp_path / "other")).push(root, ["a"])
    store = Store(str(tmp_path / "store"))
    calls = 0

    def dies(path: Path) -> str:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return files.sha256_bytes(path.read_bytes())

    monkeypatch.setattr(files, "sha256_file", dies)
    with pytest.raises(KeyboardInterrupt):
        store.push(root, ["a"])
    assert store.names("bundles") == []
    monkeypatch.undo()
    assert store.push(root, ["a"]) == whole


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://host/x", "is of an unknown kind; it must be a folder or s3://bucket/prefix"),
        ("s3://bucket/x?regoin=a", "has the option regoin; there are region, endpoint_override, scheme"),
    ],
)
def test_a_wrong_uri_is_refused(uri: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Store(uri)


@pytest.mark.slow
def test_no_such_bucket_is_a_sentence(bucket: str, tmp_path: Path) -> None:
    store = Store(re.sub("s3://[^/]+/", "s3://nobody/", bucket))
    with pytest.raises(UserError, match=r"run\.storage: s3://nobody/.* does not answer for blobs/"):
        store.push(tree(tmp_path / "source"), ["a"])


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenArtefact, match="artifacts/shards is missing; run the stage that makes it"):
        Store(str(tmp_path / "store")).push(tmp_path, ["artifacts/shards"])


def test_the_node_cache_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    store, cache = Store(str(tmp_path / "store")), NodeCache(budget=2500)
    keys: list[str] = []
    for number in range(3):
        (tmp_path / f"s{number}").mkdir()
        (tmp_path / f"s{number}/data").write_bytes(bytes([number]) * 1000)
        keys.append(store.push(tmp_path / f"s{number}", ["data"]))
    first, second = cache.get(store, keys[0]), cache.get(store, keys[1])
    os.utime(second, (1, 1))
    assert cache.get(store, keys[0]) == first
    third = cache.get(store, keys[2])
    assert first.is_dir()
    assert third.is_dir()
    assert not second.exists(), "the least lately used goes"
    assert (cache.get(store, keys[1]) / "data").read_bytes() == b"\1" * 1000


def test_the_node_cache_holds_what_is_larger_than_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    store, cache = Store(str(tmp_path / "store")), NodeCache(budget=10)
    assert (cache.get(store, store.push(tree(tmp_path / "source"), ["a"])) / "a/one.bin").is_file()


def test_sweeping_a_folder_leaves_the_rest(uri: str, tmp_path: Path) -> None:
    store = Store(uri)
    for name in ("ray/one/snapshot.json", "ray/two.json", "rays.json", "kept/ray/three.json"):
        store.write(name, {"name": name})
    store.sweep("ray")
    store.sweep("nothing")
    assert (store.names("ray"), store.names("ray/one")) == ([], [])
    assert [store.read(name)["name"] for name in ("rays.json", "kept/ray/three.json")] == [
        "rays.json",
        "kept/ray/three.json",
    ]


@pytest.mark.slow
def test_every_server_of_the_tests_begins_empty() -> None:
    for _ in range(2):
        with objects.s3() as uri:
            assert Store(uri).names("") == []
            Store(uri).write("document.json", {})
