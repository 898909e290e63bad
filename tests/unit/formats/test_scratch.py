"""A scratch folder that was removed in part does not pass for a whole one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import ScratchRemoved, TrainingFailed
from pipeline.experiment import CHECKPOINTS, SNAPSHOTS, Experiment
from pipeline.formats.remote_checkpoints import GRIDS
from pipeline.storage import scratch

PARTS = (CHECKPOINTS, SNAPSHOTS, GRIDS)


def experiment(folder: Path, **more: object) -> Experiment:
    places = {name: str(folder / name) for name in ("shards", "reference", "cache")}
    return Experiment(train={}, family={}, scratch=str(folder), cache_budget=0, **places, **more)  # pyright: ignore


def test_a_mark_is_kept_from_start_to_start(tmp_path: Path) -> None:
    notes: list[str] = []
    scratch.begin(tmp_path / "s", PARTS, notes.append)
    kept = tmp_path / "s" / CHECKPOINTS / "000000000320"
    kept.mkdir(parents=True)
    scratch.begin(tmp_path / "s", PARTS, notes.append)
    assert kept.is_dir()
    assert notes == []
    assert scratch.is_whole(tmp_path / "s")


def test_what_a_removal_left_is_not_gone_on_with(tmp_path: Path) -> None:
    """A checkpoint that was written after it would be published without the grids before it."""
    notes: list[str] = []
    scratch.begin(tmp_path, PARTS, notes.append)
    shutil.rmtree(tmp_path)
    for part in (*PARTS, "ray"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "rates.jsonl").write_text("{}\n")
    scratch.begin(tmp_path, PARTS, notes.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rates.jsonl", "ray", scratch.MARK]
    assert len(notes) == 1


def test_a_training_says_that_its_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    scratch.begin(folder, PARTS, lambda note: None)
    experiment(folder).intact()
    shutil.rmtree(folder)
    with pytest.raises(ScratchRemoved, match=r"was removed while it was in use; run it again: it begins again"):
        experiment(folder).intact()
    assert issubclass(ScratchRemoved, TrainingFailed), "exit code 1"
    # A trial makes no grids and scores in step, so that a checkpoint alone is all there is to lose.
    experiment(folder, grids=False).intact()
    experiment(folder, store="s3://bucket/prefix", mirror="run").intact()
