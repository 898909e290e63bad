"""A cluster of several raylets: the same bytes by each way to address it, by any number of workers, through deaths."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import checkout
import clusters
import psutil
import pytest
import recorded
from processes import Running, examples_seen, finished, stage

from pipeline.registry.lineage import gather

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

STAGES = ("ingest", "reference", "tune", "train", "evaluate")


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Cluster]:
    with clusters.cluster(nodes=2, cpus=2) as found:
        yield found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DAG by a private Ray: what every other way is compared with."""
    project = checkout.copy(tmp_path_factory.mktemp("alone") / "project", {"train.lanes": 4})
    done = checkout.run(project, "dvc", "repro", "evaluate", timeout=900)
    assert done.returncode == 0, done.stdout
    return project


def addressed(cluster: clusters.Cluster, shared: Path) -> Mapping[str, tuple[dict[str, Any], dict[str, str]]]:
    """By name, the settings and the environment of each way to address a cluster."""
    storage = {"run.storage": str(shared)}
    return {
        "join": ({"run.address": cluster.address, **storage}, cluster.environment),
        "env": ({"run.address": "env", **storage}, {**cluster.environment, "RAY_ADDRESS": cluster.address}),
        "submit": ({"run.address": cluster.dashboard, **storage}, cluster.environment),
    }


@pytest.mark.long
@pytest.mark.parametrize("way", ["join", "env", "submit"])
def test_the_dag_by_each_way(way: str, cluster: clusters.Cluster, alone: Path, tmp_path: Path) -> None:
    settings, environment = addressed(cluster, tmp_path / "shared")[way]
    project = checkout.copy(tmp_path / "project", {"train.lanes": 4, **settings})
    running = Running(project, "dvc", "repro", "evaluate", env=environment)
    assert running.wait(900) == 0, running.output
    assert checkout.hashes(project, "shards", "reference", "search", "model", "report/metrics.json") == checkout.hashes(
        alone, "shards", "reference", "search", "model", "report/metrics.json"
    )
    if way == "submit":
        assert not any("raylet" in " ".join(each.cmdline()) for each in running.descendants())
        for name in STAGES:
            assert f"submitted the job zerosum-{name}-" in running.output
    again = Running(project, "dvc", "repro", "evaluate", env=environment)
    assert again.wait(200) == 0, again.output
    assert "Data and pipelines are up to date." in again.output


@pytest.mark.long
@pytest.mark.parametrize("way", ["join", "submit"])
def test_a_projects_own_family_reaches_the_workers(
    way: str, cluster: clusters.Cluster, unsearched: Path, fork: Callable[..., Path], tmp_path: Path
) -> None:
    page = (checkout.ROOT / "docs/adding.md").read_text()
    (text,) = re.findall(r"```python\n(# pipeline/families/tiny\.py\n.*?)```", page, re.DOTALL)
    keys = {"train.family": "tiny", "families.tiny": {"width": 4, "latent": 8}, "run.num_workers": 2}
    settings, environment = addressed(cluster, tmp_path / "shared")[way]
    made: dict[str, Path] = {}
    for name, more in (("here", {}), ("there", settings)):
        made[name] = fork(unsearched, {**keys, **more}, name)
        (made[name] / "plugins/families").mkdir(parents=True)
        (made[name] / "plugins/families/tiny.py").write_text(text)
    finished(made["here"], "train")
    finished(made["there"], "train", environment)
    assert checkout.hashes(made["there"], "model") == checkout.hashes(made["here"], "model")


@pytest.mark.long
def test_a_job_is_found_again_by_a_workstation_that_died(
    cluster: clusters.Cluster, unsearched: Path, trained: tuple[Path, str], fork: Callable[..., Path], tmp_path: Path
) -> None:
    settings, environment = addressed(cluster, tmp_path / "shared")["submit"]
    project = fork(unsearched, settings)
    first = stage(project, "train", environment)
    first.until(lambda: "examples  " in first.output)
    first.kill()
    second = stage(project, "train", environment)
    assert second.wait(300) == 0, second.output
    assert "following the job zerosum-train-" in second.output or "it was done by the job" in second.output
    assert checkout.hashes(project, "model") == checkout.hashes(trained[0], "model")
    assert second.survivors() == []
    (run,) = recorded.jobs(project)
    assert f"its metrics are in MLflow: the run {run['name']} of zerosum-jobs" in second.output
    assert run["status"] == "FINISHED"
    lineage = gather(project, project / "artifacts/shards/manifest.json")
    for name in ("git_commit", "manifest_sha256"):
        assert run["tags"][f"lineage.{name}"] == lineage[name] != "none"
    history = checkout.table(project / "artifacts/model/history.tsv", "\t")
    assert run["curves"]["frechet"] == {
        row["examples_seen"]: float(row["frechet"]) for row in history if row["frechet"]
    }


@pytest.mark.long
def test_a_mistake_met_by_a_job_has_its_exit_code(
    cluster: clusters.Cluster, measured: Path, fork: Any, tmp_path: Path
) -> None:
    settings, environment = addressed(cluster, tmp_path / "shared")["submit"]
    project = fork(measured, {**settings, "train.family": "pix2pix", "tune.trials": 0})
    running = stage(project, "tune", environment)
    assert running.wait(200) == 2, running.output
    assert "families.pix2pix: needs pair with every batch" in running.output
    assert "Traceback" not in running.output
    assert [(run["status"], run["tags"]["zerosum.stage"]) for run in recorded.jobs(project)] == [("FAILED", "tune")]


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("family", ["dcgan", "r3gan"])
def test_any_number_of_workers_over_two_nodes(
    family: str, workers: int, cluster: clusters.Cluster, unsearched: Path, fork: Any, tmp_path: Path
) -> None:
    settings, environment = addressed(cluster, tmp_path / "shared")["join"]
    keys = {"train.family": family, "train.examples": 1280, "families.r3gan": {"preset": "smoke", "conditional": True}}
    expected = fork(unsearched, {**keys, "run.num_workers": 1}, "expected")
    finished(expected, "train")
    project = fork(unsearched, {**keys, **settings, "run.num_workers": workers, "run.placement": "SPREAD"})
    finished(project, "train", environment)
    assert checkout.hashes(project, "model") == checkout.hashes(expected, "model")


@pytest.mark.long
@pytest.mark.parametrize("family", ["dcgan", "r3gan"])
def test_resized_by_deaths(family: str, unsearched: Path, fork: Any, tmp_path: Path) -> None:
    """Four workers on two nodes; a node dies, two go on; another comes, and they are four again."""
    # Long enough that the second node comes while it still trains.
    examples = {"dcgan": 64_000, "r3gan": 19_200}[family]
    keys = {"train.examples": examples, "families.r3gan": {"preset": "smoke", "conditional": True}}
    keys |= {"train.family": family}
    expected = fork(unsearched, {**keys, "run.num_workers": 1}, "expected")
    finished(expected, "train")
    with clusters.cluster(nodes=2, cpus=2) as cluster:
        settings, environment = addressed(cluster, tmp_path / "shared")["join"]
        elastic = {"run.num_workers": [1, 4], "run.resize_interval": 5, "run.cpus_per_worker": 1}
        project = fork(unsearched, {**keys, **settings, **elastic})
        running = stage(project, "train", environment)
        shared = tmp_path / "shared"
        running.until(lambda: examples_seen(project, shared) >= 640)
        assert workers_of(cluster) == 4
        time.sleep(random.SystemRandom().uniform(0, 1))
        cluster.nodes[0].kill()
        running.until(lambda: workers_of(cluster) == 2)
        seen = examples_seen(project, shared)
        running.until(lambda: examples_seen(project, shared) > seen)
        cluster.add(2)
        running.until(lambda: workers_of(cluster) == 4)
        assert running.wait(500) == 0, running.output
    assert running.output.count("going on from the checkpoint") >= 2
    assert checkout.hashes(project, "model") == checkout.hashes(expected, "model")


def workers_of(cluster: clusters.Cluster) -> int:
    """Training workers that are alive on the cluster's nodes."""
    found: set[int] = set()
    for node in cluster.nodes:
        if node.process.poll() is None:
            for each in psutil.Process(node.process.pid).children(recursive=True):
                try:
                    if "RayTrainWorker" in " ".join(each.cmdline()):
                        found.add(each.pid)
                except psutil.NoSuchProcess:
                    continue
    return len(found)
