"""What whoever can write to a store may not do by it: write elsewhere, delete, have others connect, fill a disk."""

from __future__ import annotations

import json
import resource
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.data.batches import Reader
from pipeline.data.packing import ingest
from pipeline.data.settings import IngestSettings
from pipeline.errors import BrokenArtefact
from pipeline.formats.checkpoint import Checkpoint
from pipeline.formats.remote_checkpoints import MirroredStore
from pipeline.formats.shards import Manifest
from pipeline.storage import files, node_cache
from pipeline.storage.node_cache import Blobs, NodeCache, RemoteShards
from pipeline.storage.store import Store

CONTENT = b"content"
SHA256 = files.sha256_bytes(CONTENT)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    files.write_bytes(tmp_path / "store/blobs" / SHA256, CONTENT)
    return Store(str(tmp_path / "store"))


def bundle(store: Store, content: Any) -> str:
    """The key of an index that was never pushed by our code."""
    data = files.canonical_json(content)
    key = files.sha256_bytes(data)
    files.write_bytes(Path(store.uri) / f"bundles/{key}.json", data)
    return key


def of(*names: str) -> dict[str, Any]:
    return {"files": {name: {"sha256": SHA256, "bytes": len(CONTENT)} for name in names}}


def everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def shards_of_a_stranger(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    ingest(IngestSettings(resolution=8, limit=40, shard_examples=10), folder)
    return folder


def test_a_word_on_where_shards_are_is_heeded_in_the_cache_alone(shards_of_a_stranger: Path, tmp_path: Path) -> None:
    """Another program's store of blobs keeps its files, and nobody is connected to."""
    victim = tmp_path / "victim/blobs"
    for number in range(5):
        files.write_bytes(victim / f"sha256-{number:064x}", b"precious")
    before = everything(victim)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        theirs = f"s3://bucket/x?region=a&scheme=http&endpoint_override={endpoint}"
        for told in (
            {"store": theirs, "folder": str(victim.parent), "budget": 0},
            {"store": theirs, "budget": 0},
            {"store": str(tmp_path), "folder": str(victim.parent), "budget": 0},
            [],
            {},
        ):
            (shards_of_a_stranger / node_cache.ELSEWHERE).write_text(json.dumps(told))
            with pytest.raises(BrokenArtefact, match=r"elsewhere\.json"):
                Reader(shards_of_a_stranger, "train").examples(np.arange(3))
        with pytest.raises(TimeoutError):
            listener.accept()
    assert everything(victim) == before


def test_nor_by_way_of_a_link_out_of_the_cache(shards_of_a_stranger: Path, cache: Path) -> None:
    (shards_of_a_stranger / node_cache.ELSEWHERE).write_text(json.dumps({"store": "/x", "budget": 0}))
    inputs = cache / "node/inputs"
    inputs.mkdir(parents=True)
    (inputs / "link").symlink_to(shards_of_a_stranger)
    with pytest.raises(BrokenArtefact, match=r"elsewhere\.json"):
        RemoteShards.load(inputs / "link")


def test_a_bundle_brings_no_such_word_into_the_cache(store: Store, cache: Path) -> None:
    key = bundle(store, of("artifacts/shards/elsewhere.json", "artifacts/shards/manifest.json"))
    with pytest.raises(BrokenArtefact, match=r"elsewhere\.json"):
        NodeCache(10**9).get(store, key)
    assert not list(cache.rglob("elsewhere.json"))


def test_only_what_is_named_by_its_sha256_is_dropped(store: Store, tmp_path: Path) -> None:
    kept = [tmp_path / "here/blobs" / name for name in ("notes.txt", f"sha256-{SHA256}", ".hidden", "0" * 63)]
    ours = [tmp_path / "here/blobs" / name for name in ("1" * 64, "2" * 64, f".{'3' * 64}.0a0a0a0a.tmp")]
    for path in kept + ours:
        files.write_bytes(path, bytes(1000))
    blobs = Blobs(store, tmp_path / "here", 0)
    (tmp_path / "here/locks").mkdir()
    blobs.open(SHA256, len(CONTENT))
    assert all(path.is_file() for path in kept)
    assert not any(path.exists() for path in ours)


@pytest.mark.parametrize("sha256", ["../../x", "", "0" * 63, "g" * 64, f"{'0' * 64}/x"])
def test_what_is_no_sha256_is_no_name_in_a_store(sha256: str, store: Store, tmp_path: Path) -> None:
    for refused in (
        lambda: store.fetch(sha256, tmp_path / "fetched"),
        lambda: store.index(sha256),
        lambda: Blobs(store, tmp_path / "here", 0).open(sha256, 1),
        lambda: store.pull(bundle(store, {"files": {"x": {"sha256": sha256, "bytes": 1}}}), tmp_path / "pulled"),
    ):
        with pytest.raises(BrokenArtefact):
            refused()
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    "content",
    [
        of("../evil"),
        of("/evil"),
        of("a/../../evil"),
        of("a/./evil"),
        of("a//evil"),
        of("a\0evil"),
        of(""),
        of("."),
        {"files": {"x": {"sha256": SHA256, "bytes": -1}}},
        {"files": {"x": {"sha256": SHA256}}},
        {"files": {"x": SHA256}},
        {"files": []},
        {},
        [],
    ],
)
def test_an_index_with_other_names_or_fields_is_refused(content: Any, store: Store, tmp_path: Path) -> None:
    key = bundle(store, content)
    with pytest.raises(BrokenArtefact):
        store.pull(key, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("name", ["yaml.py", "stages/train.py", "sitecustomize.py", "artifactsx/y", "pipeline/x.so"])
def test_a_bundle_stays_within_the_folders_it_is_for(name: str, store: Store, tmp_path: Path) -> None:
    key = bundle(store, of("artifacts/x", name))
    for refused in (
        lambda: store.pull(key, tmp_path / "pulled", within=("artifacts",)),
        lambda: NodeCache(10**9).pull(store, key, tmp_path / "pulled", within=("artifacts",)),
    ):
        with pytest.raises(BrokenArtefact, match="outside of artifacts"):
            refused()
    assert not (tmp_path / "pulled").exists()
    store.pull(bundle(store, of("artifacts/x", "artifacts/y/z")), tmp_path / "pulled", within=("artifacts",))
    assert (tmp_path / "pulled/artifacts/y/z").read_bytes() == CONTENT


def test_nothing_is_written_through_a_link_in_the_target(store: Store, tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    for folder in (outside, target):
        folder.mkdir()
    (outside / "kept").write_text("kept")
    (target / "folder").symlink_to(outside)
    (target / "file").symlink_to(outside / "kept")
    with pytest.raises(BrokenArtefact, match="is a link"):
        store.pull(bundle(store, of("folder/new")), target)
    store.pull(bundle(store, of("file")), target)
    assert not (target / "file").is_symlink()
    assert (target / "file").read_bytes() == CONTENT
    assert everything(outside) == {str(outside / "kept"): b"kept"}


def test_no_more_is_fetched_than_the_index_says(store: Store, tmp_path: Path) -> None:
    """Else an endless file fills the disk; here the kernel ends who writes more than a MiB."""
    (tmp_path / "store/blobs" / SHA256).write_bytes(bytes(50 * 2**20))
    key, before = bundle(store, of("x")), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(BrokenArtefact):
            store.pull(key, tmp_path / "pulled")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_document_that_another_has_changed_is_not_read(store: Store) -> None:
    sha256 = store.write("ticket.json", {"stage": "train"})
    assert store.read("ticket.json", sha256) == {"stage": "train"}
    store.write("ticket.json", {"stage": "evaluate"})
    with pytest.raises(BrokenArtefact, match="somebody has changed it"):
        store.read("ticket.json", sha256)


def test_checkpoints_of_a_store_stay_in_their_folder(store: Store, tmp_path: Path) -> None:
    """A document may name any bundle, and be called `...json`."""
    scratch = tmp_path / "work/scratch"
    mirrored = MirroredStore(scratch, 2, store)
    state = {"examples_seen": 64, "began": 0}
    path = mirrored.save(Checkpoint({"weights": {"w": torch.ones(2)}}, state, []))
    (tmp_path / "work/kept").write_text("kept")
    other = MirroredStore(tmp_path / "work/other", 2, store)
    for name in ("...json", f"{path.name}.json"):
        store.write(name, {"bundle": bundle(store, of("stray/kept", "grids/../../kept", "checkpoints/x"))})
    assert other.latest(lambda _: None) is None
    for name in (path.name, "128", "best"):
        store.write(f"{name}.json", {"bundle": bundle(store, of("grids/x", "checkpoints/other/state.json"))})
    assert other.latest(lambda _: None) is None
    assert (tmp_path / "work/kept").read_text() == "kept"


def test_a_manifest_with_a_sha256_that_is_none_reaches_no_cache(shards_of_a_stranger: Path) -> None:
    path = shards_of_a_stranger / "manifest.json"
    content = json.loads(path.read_text())
    content["splits"]["train"]["shards"][0]["sha256"] = "../../../../etc/hostname"
    path.write_text(json.dumps(content))
    with pytest.raises(BrokenArtefact, match="sha256"):
        Manifest.load(shards_of_a_stranger)
