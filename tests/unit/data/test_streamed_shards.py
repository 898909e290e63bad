"""Shards that stay in a store: each comes when it is read, once for a machine, verified, and as many as are allowed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from pipeline.data import cache as caching
from pipeline.data import shard_files
from pipeline.data.batches import Batches, Reader
from pipeline.data.packing import ingest
from pipeline.data.settings import IngestSettings
from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.shards import Manifest
from pipeline.storage import files
from pipeline.storage.bundles import ELSEWHERE
from pipeline.storage.node_cache import NodeCache, RemoteShards
from pipeline.storage.store import Store

BIG = 10**9
Node = Callable[..., Path]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    ingest(IngestSettings(resolution=16, limit=300, shard_examples=40), root / "artifacts/shards")
    return root


@pytest.fixture
def store(project: Path, tmp_path: Path) -> tuple[Store, str]:
    found = Store(str(tmp_path / "store"))
    return found, found.push(project, ["artifacts/shards"])


@pytest.fixture
def node(store: tuple[Store, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """node(budget) → the folder of shards as this machine has it."""
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path))
    return lambda budget=BIG: NodeCache(budget).get(*store) / "artifacts/shards"


def blobs(tmp_path: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (tmp_path / "node/blobs").glob("*")}


def tars(folder: Path) -> list[tuple[str, int]]:
    return [(shard.sha256, shard.bytes) for shard in Manifest.load(folder).split("train").shards]


def test_a_shard_comes_when_it_is_read(project: Path, node: Node, tmp_path: Path) -> None:
    folder = node()
    assert sorted(path.name for path in folder.glob("*.tar")) == []
    assert blobs(tmp_path) == {}
    here, streamed = Reader(project / "artifacts/shards", "train"), Reader(folder, "train")
    assert blobs(tmp_path) == {}, "opening reads none"
    own = np.arange(10, dtype=np.int64)  # of the first shard
    assert np.array_equal(streamed.examples(own)["x"], here.examples(own)["x"])
    assert blobs(tmp_path) == dict(tars(folder)[:1])
    mixed = np.random.default_rng(0).permutation(len(here))
    for name, values in here.examples(mixed).items():
        assert np.array_equal(streamed.examples(mixed)[name], values)
    assert blobs(tmp_path) == dict(tars(folder))
    assert here.examples(mixed)["label"].any()


def test_batches_are_those_of_the_folder(project: Path, node: Node) -> None:
    here, streamed = (Batches(Reader(folder, "train"), 7) for folder in (project / "artifacts/shards", node()))
    for position in (0, 250, 1000):
        assert here.batch(position, 0, 32)["x"].equal(streamed.batch(position, 0, 32)["x"])


def test_no_more_is_kept_than_is_allowed(project: Path, node: Node, tmp_path: Path) -> None:
    sizes = [size for _, size in tars(project / "artifacts/shards")]
    budget = int(2.5 * max(sizes))
    here, streamed = Reader(project / "artifacts/shards", "train"), Reader(node(budget), "train")
    chance = np.random.default_rng(1)
    for _ in range(5):
        drawn = chance.integers(0, len(here), 64)
        assert np.array_equal(streamed.examples(drawn)["x"], here.examples(drawn)["x"])
        assert min(sizes) <= sum(blobs(tmp_path).values()) <= budget


def test_the_least_lately_read_goes_first(node: Node, tmp_path: Path) -> None:
    (first, size), (second, _), (third, _), *_ = tars(node())
    reader = Reader(node(int(2.5 * size)), "train")
    for number in (0, 1, 0, 2):
        reader.examples(np.array([40 * number], dtype=np.int64))
    assert set(blobs(tmp_path)) == {first, third}
    assert second not in blobs(tmp_path)


def test_one_that_is_larger_than_all_that_is_allowed(project: Path, node: Node, tmp_path: Path) -> None:
    here, streamed = Reader(project / "artifacts/shards", "train"), Reader(node(10), "train")
    drawn = np.arange(0, 200, 3)
    assert np.array_equal(streamed.examples(drawn)["x"], here.examples(drawn)["x"])
    assert len(blobs(tmp_path)) == 1


def test_of_two_that_come_at_once_one_stays(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, both, real = node(10), threading.Barrier(2, timeout=30), Store.fetch

    def fetch(self: Store, sha256: str, path: Path, size: int | None = None) -> None:
        real(self, sha256, path, size)
        both.wait()

    monkeypatch.setattr(Store, "fetch", fetch)
    there = RemoteShards.load(folder)
    assert there
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            for opened in pool.map(lambda shard: there.blobs().open(*shard), tars(folder)[:2]):
                os.close(opened)
        assert len(blobs(tmp_path)) == 1
        shutil.rmtree(tmp_path / "node" / "blobs")


def test_what_was_read_while_others_are_dropped_stays(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reader comes between the list of what may go and the going."""
    (first, size), (second, _), (third, _), *_ = tars(node())
    there, real = RemoteShards(str(tmp_path / "store"), 2 * size).blobs(), FileLock.acquire
    for sha256 in (first, second, third):
        files.write_bytes(tmp_path / "node/blobs" / sha256, bytes(size))
        time.sleep(0.01)

    def acquire(self: FileLock, *arguments: Any, **options: Any) -> Any:
        os.utime(tmp_path / "node/blobs" / first)
        return real(self, *arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    (tmp_path / "node/locks").mkdir()
    there._trim(2 * size)
    assert set(blobs(tmp_path)) == {first, third}


def test_the_budget_is_that_of_the_run(node: Node, tmp_path: Path) -> None:
    Reader(node(BIG), "train").examples(np.arange(200))
    assert len(blobs(tmp_path)) > 2
    reader = Reader(node(10), "train")
    reader.examples(np.array([0]))
    size = tars(node(10))[0][1]
    assert sum(blobs(tmp_path).values()) > size, "nothing is dropped before something comes"
    for sha256, _ in tars(node(10))[:1]:
        (tmp_path / "node/blobs" / sha256).unlink()
    reader.examples(np.array([0]))
    assert sum(blobs(tmp_path).values()) == size


def test_a_shard_that_changed_in_the_store(store: tuple[Store, str], node: Node, tmp_path: Path) -> None:
    folder = node()
    sha256, size = tars(folder)[1]
    (tmp_path / "store/blobs" / sha256).write_bytes(bytes(size))
    reader = Reader(folder, "train")
    reader.examples(np.array([0]))
    with pytest.raises(BrokenArtefact, match="remove it there and push again"):
        reader.examples(np.arange(200))
    assert sha256 not in blobs(tmp_path)
    assert all(files.sha256_file(path) == path.name for path in (tmp_path / "node/blobs").iterdir())
    with pytest.raises(BrokenArtefact, match="remove it there and push again"):
        Reader(folder, "train", cache=tmp_path / "decoded", cache_budget=BIG)


def test_a_store_without_it(node: Node, tmp_path: Path) -> None:
    reader = Reader(node(), "train")
    for path in (tmp_path / "store/blobs").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"run\.storage: .*/store does not answer for blobs/"):
        reader.examples(np.arange(200))


def test_one_cut_short_on_this_machine_comes_again(project: Path, node: Node, tmp_path: Path) -> None:
    folder = node()
    Reader(folder, "train").examples(np.array([0]))
    sha256, size = tars(folder)[0]
    with (tmp_path / "node/blobs" / sha256).open("r+b") as file:
        file.truncate(size // 2)
    found = Reader(folder, "train").examples(np.arange(40))["x"]
    assert np.array_equal(found, Reader(project / "artifacts/shards", "train").examples(np.arange(40))["x"])
    assert blobs(tmp_path)[sha256] == size


def test_what_killed_processes_left_half_fetched(node: Node, tmp_path: Path) -> None:
    folder = node()
    (sha256, _), (other, _), *_ = tars(folder)
    place = tmp_path / "node/blobs"
    place.mkdir(parents=True)
    left, under_way = place / f".{sha256}.0a0a0a0a.tmp", place / f".{other}.0b0b0b0b.tmp"
    for path in (left, under_way):
        path.write_bytes(b"half")
    locks = tmp_path / "node/locks"
    locks.mkdir()
    last = tars(folder)[-1][0]
    assert len({sha256[:2], other[:2], last[:2]}) == 3, "the three have locks of their own"
    with FileLock(str(locks / f"{other[:2]}.lock")):
        Reader(folder, "train").examples(np.array([len(Reader(folder, "train")) - 1]))
    assert not left.exists()
    assert under_way.exists(), "somebody is still fetching it"


def test_processes_of_a_machine_fetch_each_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, fetched, real = node(), Counter[str](), Store.fetch
    together = threading.Barrier(4)

    def fetch(self: Store, sha256: str, path: Path, size: int | None = None) -> None:
        fetched[sha256] += 1
        real(self, sha256, path, size)

    monkeypatch.setattr(Store, "fetch", fetch)
    found: list[np.ndarray] = []

    def read() -> None:
        reader = Reader(folder, "train")
        together.wait()
        found.append(reader.examples(np.arange(200))["x"])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == dict.fromkeys((sha256 for sha256, _ in tars(folder)[:5]), 1)
    assert len(found) == 4
    assert all(np.array_equal(each, found[0]) for each in found)


def test_decoding_streams_too(project: Path, node: Node, tmp_path: Path) -> None:
    budget = int(1.5 * tars(project / "artifacts/shards")[0][1])
    streamed = Reader(node(budget), "train", cache=tmp_path / "decoded", cache_budget=BIG)
    assert streamed.cached
    assert 0 < sum(blobs(tmp_path).values()) <= budget
    here = Reader(project / "artifacts/shards", "train", cache=tmp_path / "other", cache_budget=BIG)
    one, other = (next((tmp_path / name).glob("*-train")) / caching.DATA for name in ("decoded", "other"))
    assert one.read_bytes() == other.read_bytes()
    assert np.array_equal(streamed.examples(np.arange(9))["label"], here.examples(np.arange(9))["label"])


def test_decoded_data_of_others_goes_beyond_the_budget(project: Path, tmp_path: Path) -> None:
    first, cache = project / "artifacts/shards", tmp_path / "decoded"
    ingest(IngestSettings(resolution=16, limit=280, shard_examples=40), tmp_path / "second")
    size = caching.decoded_bytes(Manifest.load(first), "train")
    one = Reader(first, "train", cache=cache, cache_budget=size)
    expected = one.examples(np.arange(50))["x"]
    Reader(tmp_path / "second", "train", cache=cache, cache_budget=10 * size)
    assert len(list(cache.iterdir())) == 2, "there is room for both"
    for path in cache.glob(f"{Manifest.load(tmp_path / 'second').sha256[:16]}-*"):
        (path / caching.CARD).unlink()
    Reader(tmp_path / "second", "train", cache=cache, cache_budget=size)
    assert [path.name for path in cache.iterdir()] == [f"{Manifest.load(tmp_path / 'second').sha256[:16]}-train"]
    assert np.array_equal(one.examples(np.arange(50))["x"], expected), "who has it mapped keeps it"
    assert np.array_equal(Reader(first, "train", cache=cache, cache_budget=size).examples(np.arange(50))["x"], expected)


def test_a_bundle_of_shards_that_are_elsewhere_is_the_bundle_they_came_from(
    store: tuple[Store, str], node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job sends its workers what it has been sent itself: they find the shards where it would."""
    root = node().parents[1]
    held = shard_files.held(root, ["artifacts/shards"], store[0].uri)
    assert sorted(held.values()) == sorted(
        (shard.sha256, shard.bytes) for split in Manifest.load(node()).splits.values() for shard in split.shards
    )
    again = store[0].push(root, ["artifacts/shards"], held)
    assert again == store[1]
    assert blobs(tmp_path) == {}, "none was fetched for it"
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "other"))
    folder = NodeCache(BIG).get(store[0], again) / "artifacts/shards"
    assert len(Reader(folder, "train").examples(np.arange(50))["x"]) == 50


def test_what_this_machine_notes_of_a_store_is_never_sent(store: tuple[Store, str], node: Node) -> None:
    root = node().parents[1]
    assert shard_files.held(root, ["artifacts/shards"], "s3://another/store") == {}
    sent = store[0].push(root, ["artifacts/shards"])
    assert not any(name.endswith(ELSEWHERE) for name in store[0].index(sent))
