"""`run.storage: s3://…`: a training whose machine is lost goes on elsewhere, in the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkout
import clusters
import objects
import pytest
from processes import examples_seen, finished, stage

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
    assert checkout.hashes(project, "reference", "report/metrics.json") == checkout.hashes(
        expected, "reference", "report/metrics.json"
    )


def test_a_store_that_is_gone(unsearched: Path, fork: Any) -> None:
    project = fork(unsearched, {"run.storage": "s3://nobody/here?endpoint_override=127.0.0.1:1&scheme=http&region=x"})
    output = finished(project, "train", objects.CREDENTIALS, code=2)
    assert "train: run.storage: s3://nobody/here" in output
    assert "does not answer" in output
