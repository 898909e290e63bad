"""What Ray Train's validation is given and what is made of its answers, without a cluster."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.training import validation
from pipeline.errors import TrainingFailed
from pipeline.storage import files
from pipeline.training import beside


class Pointer:
    """A checkpoint as Ray hands it to a validation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def as_directory(self) -> Any:
        yield str(self._folder)


def pointer(folder: Path, snapshot: Path) -> Pointer:
    files.write_json(folder / "pointer" / validation.POINTER, {"snapshot": str(snapshot)})
    return Pointer(folder / "pointer")


def test_the_answer_goes_to_ray_and_to_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "000-000000000064.safetensors"
    asked: list[tuple[Any, ...]] = []

    def score(experiment: dict[str, Any], path: str, device: str) -> None:
        asked.append((experiment, path, device))
        beside.write_answer(Path(path), {"frechet": 2.5, "recall": 1})

    monkeypatch.setattr(validation, "score_snapshot", score)
    assert validation.validate(pointer(tmp_path, snapshot), {"train": {}}, "cpu") == {"frechet": 2.5, "recall": 1.0}
    assert asked == [({"train": {}}, str(snapshot), "cpu")]
    validation.wait(snapshot, patience=0)


def test_why_a_score_failed_reaches_the_waiting_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "000-000000000064.safetensors"

    def torn(*_: Any) -> None:
        raise ValueError("the snapshot is torn")

    monkeypatch.setattr(validation, "score_snapshot", torn)
    with pytest.raises(ValueError, match="torn"):
        validation.validate(pointer(tmp_path, snapshot), {}, "cpu")
    with pytest.raises(TrainingFailed, match="beside training: ValueError: the snapshot is torn; run it again"):
        validation.wait(snapshot)


def test_waiting_ends(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"no score of 000-1\.safetensors came within 0 s"):
        validation.wait(tmp_path / "000-1.safetensors", patience=0, every=0.01)


@pytest.mark.slow  # for what it imports
def test_a_task_asks_for_a_gpu_only_beside_gpus() -> None:
    for cuda in (False, True):
        config = validation.config({"train": {"seed": 1}}, cuda)
        assert config.ray_remote_kwargs == {"num_cpus": 1, "num_gpus": int(cuda), "max_retries": 3}
        assert config.task_config.fn_kwargs == {
            "experiment": {"train": {"seed": 1}},
            "device": "cuda" if cuda else "cpu",
        }
