"""Every fault that `make chaos` throws at random, once each: the training ends in the bytes of an unbroken one."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path

import chaos
import cluster_level
import loop_level
import objects
import pytest
import ray_level
from loop_level import FAULTS, OF_STORE, Training
from troubled import Trouble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GROUPS = (
    ("worker killed", "hung rank", "torn checkpoint"),
    ("node killed", "clock", "litter"),
    ("preempted", "diverged rank", "disk full"),
    ("S3 errors", "S3 slow", "S3 gone"),
)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return loop_level.reference(tmp_path_factory.mktemp("expected"), "dcgan")


def test_the_groups_hold_every_fault() -> None:
    assert sorted(sum(GROUPS, ())) == sorted(FAULTS)


def test_chaos_draws_every_fault() -> None:
    assert chaos.LOOP.keys() == FAULTS.keys()
    assert chaos.RAY.keys() == set(ray_level.FAULTS)
    assert chaos.CLUSTER.keys() == cluster_level.FAULTS.keys()


@pytest.mark.parametrize(
    "faults",
    # The first of them waits the longest, for a collective to give up.
    [pytest.param(each, marks=[pytest.mark.chaos] if each is GROUPS[0] else []) for each in GROUPS],
    ids=lambda faults: ", ".join(faults),
)
def test_a_training_under_faults(faults: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    training = Training(tmp_path / "run", "dcgan", ranks=2, trouble=Trouble())
    with objects.troubled_s3(training.trouble) if OF_STORE.keys() & faults else nullcontext("") as training.storage:
        done = loop_level.endure(training, faults, random.Random(5), apart=192)
    assert [injection.fault for injection in done] == list(faults)
    assert training.result() == expected, loop_level.logs(training)
    assert training.orphans() == []
    assert not any("nobody" in injection.said for injection in done)
