"""Every fault that `make chaos` throws at Ray, once each at a training: it ends in the bytes of an unbroken one."""

from __future__ import annotations

import random
from pathlib import Path

import cluster_level
import pytest
import ray_level
from loop_level import Injection

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ray_level.prepare(tmp_path_factory.mktemp("ray"))


@pytest.mark.parametrize("fault", sorted(set(ray_level.FAULTS) - {"newborn worker killed"}))
def test_a_private_ray(fault: str, expected: Path, tmp_path: Path) -> None:
    right(ray_level.attack(expected, tmp_path, "train", [fault], random.Random(f"{fault}/2")), fault)


def test_a_ray_that_waits_for_a_worker_that_died(expected: Path, tmp_path: Path) -> None:
    """Some hundredths of a second decide whether Ray knew the worker: of three, one at least was killed before."""
    fault, said = "newborn worker killed", [ray_level.KNOWN]
    for attempt in range(3):
        if ray_level.KNOWN in said[-1]:
            done = ray_level.attack(expected, tmp_path, "train", [fault], random.Random(attempt))
            right(done, fault)
            said.append(done[0].said)
    assert ray_level.KNOWN not in said[-1]


@pytest.mark.parametrize("fault", sorted(cluster_level.FAULTS.keys() - {"object store full"}))
def test_a_cluster(fault: str, expected: Path, tmp_path: Path) -> None:
    right(cluster_level.attack(expected, tmp_path, [fault], random.Random(fault)), fault)


@pytest.mark.parametrize("spilling", [True, False])
def test_full_object_stores(spilling: bool, expected: Path, tmp_path: Path) -> None:
    fault = "object store full"
    right(cluster_level.attack(expected, tmp_path, [fault], random.Random(fault), spilling), fault)


def right(done: list[Injection], fault: str) -> None:
    """The fault came about, and cost nothing but time."""
    assert [injection.fault.partition(": ")[2] for injection in done] == [fault]
    assert done[0].survived, done[0].said
