"""Features computed by Ray's workers: the same bytes as in one process."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Running, name

from pipeline.cluster.connect.session import session
from pipeline.cluster.tasks import map_tasks
from pipeline.cluster.tasks.carried import carried
from pipeline.data.packing import ingest
from pipeline.data.settings import IngestSettings
from pipeline.errors import TrainingFailed
from pipeline.formats.report import dumps
from pipeline.run.settings import RunSettings
from pipeline.scoring.extract import ShardExamples
from pipeline.scoring.inputs import Opening
from pipeline.scoring.reference import measure
from pipeline.scoring.score import Execution, Request, score
from pipeline.scoring.settings import ReferenceSettings


@pytest.mark.slow
def test_a_reference_and_scores_are_the_same_on_two_workers(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    ingest(IngestSettings(source={"name": "digits"}, resolution=8, limit=900), shards)
    train, holdout = ShardExamples(shards, "train"), ShardExamples(shards, "holdout")
    settings = ReferenceSettings(extractor={"name": "random_projection", "dimension": 8})
    request = Request(str(shards), f"{shards}:holdout", {"name": "random_projection", "dimension": 8})
    opening = Opening(lambda uri: Path(uri), lambda name: lambda done, total: None)
    alone = measure(settings, train, holdout, tmp_path / "alone", train.manifest_sha256)
    by_one = score(request, Execution(opening))
    with session(RunSettings(num_workers=2), 2):
        spread_out = measure(
            settings, train, holdout, tmp_path / "spread", train.manifest_sha256, mapped=map_tasks.in_order
        )
        by_two = score(request, Execution(opening, map_tasks.in_order, tmp_path))
        afar = tmp_path / "afar"
        ingest(IngestSettings(source={"name": "digits"}, resolution=8, limit=900), afar, map_shards=carried)
        assert [most_under_way(megabytes * 2**20) for megabytes in (0, 50, 200)] == [4, 2, 1]
        with pytest.raises(TrainingFailed, match="have died, each in turn: The worker died unexpectedly"):
            list(map_tasks.in_order(os._exit, [1]))
    for path in sorted(alone.folder.iterdir()):
        assert path.read_bytes() == (spread_out.folder / path.name).read_bytes(), path.name
    assert dumps(by_two.records) == dumps(by_one.records)
    assert {path.name: path.read_bytes() for path in afar.iterdir()} == {
        path.name: path.read_bytes() for path in shards.iterdir()
    }
    assert by_one.records[0].split == "train"


def most_under_way(weight: int) -> int:
    """Tasks that have been begun and not answered, of those that say they weigh so much."""
    begun, answered, most = 0, 0, 0

    def tasks() -> Iterator[int]:
        nonlocal begun, most
        for number in range(8):
            # One is asked for before there is room for it, since only it can say what it weighs.
            most = max(most, begun - answered)
            begun += 1
            yield number

    for answer in map_tasks.in_order(abs, tasks(), lambda task: weight):
        assert answer == answered
        answered += 1
    assert answered == 8
    return most


SCORE = (
    str(Path(sys.executable).with_name("zerosum")),
    *("score", "--real", "shards", "--fake", "shards:holdout", "--extractor", "random_projection"),
    *("--metrics", "fid", "--seed", "3", "--json", "--quiet", "--no-cache"),
)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    ingest(IngestSettings(source={"name": "digits"}, resolution=8, limit=900), tmp_path / "shards")
    return tmp_path


@pytest.mark.slow
def test_the_command_scores_the_same_on_two_workers(packed: Path) -> None:
    alone, spread_out = Running(packed, *SCORE), Running(packed, *SCORE, "--workers", "2")
    assert (alone.wait(), spread_out.wait()) == (0, 0), spread_out.output
    assert json.loads(spread_out.output) == json.loads(alone.output)
    assert spread_out.survivors() == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=lambda each: str(each)
)
def test_the_command_leaves_nobody_behind(packed: Path, number: int, code: int) -> None:
    """The process that works is killed; any other signal goes to who started it."""
    running = Running(packed, *SCORE, "--workers", "2")
    running.until(lambda: any(name(each).startswith("ray::") for each in running.descendants()))
    child = running.until(running.descendants)[0]
    os.kill(child.pid if number == signal.SIGKILL else running.process.pid, number)
    assert running.wait() == code, running.output
    assert running.survivors() == []
    assert "Traceback" not in running.output, running.output
