"""`run.storage: s3://…`: a training whose machine is lost goes on elsewhere, in the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkout
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


def test_a_store_that_is_gone(unsearched: Path, fork: Any) -> None:
    project = fork(unsearched, {"run.storage": "s3://nobody/here?endpoint_override=127.0.0.1:1&scheme=http&region=x"})
    output = finished(project, "train", objects.CREDENTIALS, code=2)
    assert "train: run.storage: s3://nobody/here" in output
    assert "does not answer" in output
