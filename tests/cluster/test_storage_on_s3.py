"""`run.storage: s3://…`: a training whose machine is lost goes on elsewhere, in the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkout
import clusters
import inceptions
import numpy as np
import objects
import pytest
from PIL import Image
from processes import Running, examples_seen, finished, stage

from pipeline.assets import inception, save
from pipeline.formats.shards import Manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with objects.s3() as uri:
        yield uri


def test_a_lost_machine(bucket: str, unsearched: Path, trained: tuple[Path, str], fork: Any, tmp_path: Path) -> None:
    project = fork(unsearched, {"run.storage": bucket})
    first = stage(project, "train", {"ZEROSUM_CACHE": str(tmp_path / "first")})
    first.until(lambda: examples_seen(project) >= 640)
    first.kill()
    assert first.survivors() == []
    # What the machine held is gone: another has neither its scratch nor its cache.
    shutil.rmtree(project / ".work")
    shutil.rmtree(tmp_path / "first")
    output = finished(project, "train", {"ZEROSUM_CACHE": str(tmp_path / "second")})
    assert "going on from the checkpoint at" in output
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


@pytest.mark.long
def test_nodes_that_share_no_folder_measure_and_score(
    bucket: str, trained: tuple[Path, str], fork: Any, tmp_path: Path
) -> None:
    """Blocks of examples and of samples, over nodes that have shards, extractor and model from the store alone."""
    expected = fork(trained[0], {"run.num_workers": 1}, "expected")
    for name in ("reference", "evaluate"):
        finished(expected, name)
    cache = tmp_path / "node"
    with clusters.cluster(nodes=2, cpus=1, environment={**objects.CREDENTIALS, "ZEROSUM_CACHE": str(cache)}) as cluster:
        keys = {"run.address": cluster.address, "run.storage": bucket, "run.num_workers": 2, "run.spread_from": 0}
        project = fork(trained[0], keys)
        for name in ("reference", "evaluate"):
            # The driver's own cache is another's.
            finished(project, name, {**cluster.environment, "ZEROSUM_CACHE": str(tmp_path / "driver")})
    fetched = {str(path.relative_to(path.parents[2])) for path in (cache / "node" / "inputs").glob("*/artifacts/*/*")}
    assert {"artifacts/shards/manifest.json", "artifacts/model/model.json"} <= fetched
    shards = Manifest.load(project / "artifacts/shards").splits.values()
    sent = {shard.sha256 for split in shards for shard in split.shards}
    assert not any(name.endswith(".tar") for name in fetched), "shards come one by one"
    assert sent == {path.name for path in (cache / "node" / "blobs").iterdir()}
    assert checkout.hashes(project, "reference", "report/metrics.json") == checkout.hashes(
        expected, "reference", "report/metrics.json"
    )


@pytest.mark.long
def test_a_job_whose_shards_stay_in_the_store(
    bucket: str, unsearched: Path, trained: tuple[Path, str], fork: Any, tmp_path: Path
) -> None:
    """Its head holds the small files alone; nodes fetch what they read."""
    cache = tmp_path / "node"
    storage = bucket.replace("/runs", "/jobs")  # where no other test has trained
    with clusters.cluster(nodes=2, cpus=1, environment={**objects.CREDENTIALS, "ZEROSUM_CACHE": str(cache)}) as cluster:
        project = fork(unsearched, {"run.address": cluster.dashboard, "run.storage": storage, "run.cache_megabytes": 0})
        running = stage(project, "train", {**cluster.environment, "ZEROSUM_CACHE": str(tmp_path / "driver")})
        seen: set[str] = set()
        running.until(
            lambda: seen.update(path.name for path in cache.glob("jobs/*/artifacts/shards/*")) or ended(running)
        )
        assert running.wait() == 0, running.output
    train = Manifest.load(project / "artifacts/shards").split("train").shards
    assert {"manifest.json", "elsewhere.json"} <= seen
    assert not any(name.endswith(".tar") for name in seen)
    assert {shard.sha256 for shard in train} == {path.name for path in (cache / "node" / "blobs").iterdir()}
    assert not (tmp_path / "driver").exists()
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")


@pytest.mark.long
def test_files_that_only_the_workstation_has(bucket: str, tmp_path: Path) -> None:
    """Ingest is done where the pictures are; the extractor's weights and foreign statistics travel with their job."""
    expected = checkout.copy(tmp_path / "expected", OWN_FILES)
    own_files(expected)
    project = tmp_path / "project"
    shutil.copytree(expected, project, symlinks=True)
    for name in ("ingest", "reference"):
        finished(expected, name)
    credentials = {**objects.CREDENTIALS, "ZEROSUM_CACHE": str(tmp_path / "node")}
    with clusters.cluster(nodes=2, cpus=1, environment=credentials) as cluster:
        where = {"run.address": cluster.dashboard, "run.storage": bucket.replace("/runs", "/own")}
        checkout.configure(project, {**where, "run.num_workers": 2})
        packed = finished(project, "ingest", cluster.environment)
        measured = finished(project, "reference", cluster.environment)
    assert "submitted" not in packed
    assert "60 items from image_folder" in packed
    assert "submitted the job zerosum-reference-" in measured
    assert not list((tmp_path / "node").glob("jobs/*")), "what came along is gone with its job"
    assert checkout.hashes(project, "shards", "reference") == checkout.hashes(expected, "shards", "reference")
    card = json.loads((project / "artifacts/reference/reference.json").read_text())
    assert card["identity"]["name"] == "inception"
    assert card["statistics"]["source"] == "statistics.npz"


@pytest.mark.long
@pytest.mark.parametrize("way", ["join", "join, shared", "submit"])
def test_ingest_over_nodes_that_see_no_source(way: str, bucket: str, tmp_path: Path) -> None:
    """A driver's own pictures, and the digits that a job finds wherever it runs: read and packed on both nodes.

    A path of the project leads nowhere on a node, though its storage be a folder that all share.
    """
    chosen = ({} if way == "submit" else OWN_FILES) | {"ingest.shard_examples": 10}
    expected = checkout.copy(tmp_path / "expected", {**chosen, "ingest.limit": 120})
    own_files(expected)
    project = tmp_path / "project"
    shutil.copytree(expected, project, symlinks=True)
    finished(expected, "ingest")
    credentials = {**objects.CREDENTIALS, "ZEROSUM_CACHE": str(tmp_path / "node")}
    with clusters.cluster(nodes=2, cpus=1, environment=credentials) as cluster:
        address = cluster.dashboard if way == "submit" else cluster.address
        storage = str(tmp_path / "shared") if "shared" in way else bucket.replace("/runs", f"/{way}")
        checkout.configure(project, {"run.address": address, "run.storage": storage})
        said = finished(project, "ingest", cluster.environment)
        done = cluster.tasks("run")
    assert ("submitted the job zerosum-ingest-" in said) == (way == "submit")
    shards = Manifest.load(project / "artifacts/shards").splits.values()
    packed = sum(len(split.shards) for split in shards)
    read = -(-len(list((project / "pictures").rglob("*.png"))) // 10) if way != "submit" else 12
    assert sum(done.values()) == read + packed
    assert len(done) == 2, done
    assert checkout.hashes(project, "shards") == checkout.hashes(expected, "shards")


@pytest.mark.long
def test_a_node_that_dies_while_it_packs_for_others(bucket: str, tmp_path: Path) -> None:
    expected = checkout.copy(tmp_path / "expected", {"ingest.shard_examples": 4})
    project = tmp_path / "project"
    shutil.copytree(expected, project, symlinks=True)
    finished(expected, "ingest")
    with clusters.cluster(nodes=2, cpus=1, environment=objects.CREDENTIALS) as cluster:
        checkout.configure(project, {"run.address": cluster.address, "run.storage": bucket.replace("/runs", "/dies")})
        running = stage(project, "ingest", cluster.environment)
        running.until(lambda: "packing ..." in running.output)
        cluster.nodes[0].kill()
        struck = running.process.poll() is None
        assert running.wait() == 0, running.output
    assert struck, "it had ended before"
    assert checkout.hashes(project, "shards") == checkout.hashes(expected, "shards")


OWN_FILES = {
    "ingest.source": {"name": "image_folder", "folder": "pictures"},
    "ingest.holdout_fraction": 0.4,
    "reference.extractor": {"name": "inception", "tap": 64, "weights": "weights.safetensors"},
    "reference.statistics": "statistics.npz",
    "register.metric": "frechet_inception",
}


def own_files(project: Path) -> None:
    """In the project's folder, which no job has: relative paths lead nowhere on the cluster."""
    chance = np.random.default_rng(0)
    for number in range(60):
        path = project / "pictures" / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    weights = project / "weights.safetensors"
    save(weights, inception.folded(weights, inceptions.random_state(), 64), "")
    np.savez(project / "statistics.npz", mu=np.zeros(64), sigma=np.eye(64))


def ended(running: Running) -> bool:
    return running.process.poll() is not None


def test_a_store_that_is_gone(unsearched: Path, fork: Any) -> None:
    project = fork(unsearched, {"run.storage": "s3://nobody/here?endpoint_override=127.0.0.1:1&scheme=http&region=x"})
    output = finished(project, "train", objects.CREDENTIALS, code=2)
    assert "train: run.storage: s3://nobody/here" in output
    assert "does not answer" in output
