"""A function's way to nodes that share no folder: its paths as names, its files by the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.tasks import map_tasks

pytestmark = pytest.mark.slow  # for what Ray imports


@dataclass(frozen=True)
class Reading:
    """What a task does: reads a file of the project, one of its own, and writes to a cache."""

    inside: Path
    folder: Path
    outside: Path
    cache: Path

    def __call__(self, task: int) -> list[str]:
        listed = sorted(path.name for path in self.folder.iterdir())
        return [self.inside.read_text(), *listed, str(self.outside), str(self.cache), str(task)]


def here(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """In place of Ray: whatever travels has travelled by then."""
    return map(function, tasks)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(map_tasks, "in_order", here)
    root = tmp_path / "project"
    for name in ("artifacts/model/weights", "artifacts/shards/a", "artifacts/shards/b", "artifacts/report/unread"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_paths_of_the_project_are_fetched_and_others_stay(project: Path, tmp_path: Path) -> None:
    artifacts, work = project / "artifacts", project / ".work"
    function = Reading(artifacts / "model" / "weights", artifacts / "shards", tmp_path / "far", work / "cache")
    over = map_tasks.OverStore(str(tmp_path / "store"), project, work, 2**20)
    answers = over(function, [1, 2])
    (artifacts / "model" / "weights").write_text("changed behind its back")
    expected = [
        *("artifacts/model/weights", "a", "b"),
        *(str(tmp_path / "far"), str(tmp_path / "node" / "node" / "decoded" / "cache")),
    ]
    assert list(answers) == [[*expected, "1"], [*expected, "2"]]
    (fetched,) = (tmp_path / "node" / "node" / "inputs").glob("*/artifacts")
    assert sorted(path.name for path in fetched.iterdir()) == ["model", "shards"], "no more than is read"


def test_a_path_within_the_project_that_is_work_is_not_sent(project: Path, tmp_path: Path) -> None:
    """The cache may be large, and is each node's own."""
    work = project / "artifacts"
    function = Reading(project / "artifacts" / "model" / "weights", work, work, work)
    over = map_tasks.OverStore(str(tmp_path / "store"), project, work, 2**20)
    with pytest.raises(FileNotFoundError, match="node/decoded"):
        list(over(function, [1]))
    assert not list((tmp_path / "store").glob("blobs/*"))
