"""In-training scores by Ray Train's asynchronous validation: a task beside the workers, one at a time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

from pipeline.contract import World
from pipeline.errors import TrainingFailed
from pipeline.experiment import score_snapshot
from pipeline.storage import files
from pipeline.training import beside

PATIENCE = 1500.0  # seconds without one more answer, at the end of a training, before it is given up
POINTER = "snapshot.json"


def config(experiment: dict[str, Any], cuda: bool) -> Any:
    """Ray Train's `ValidationConfig`: what scores a snapshot, and what such a task asks of the cluster."""
    from ray.train import ValidationConfig, ValidationTaskConfig

    return ValidationConfig(
        fn=cast("Any", validate),
        task_config=ValidationTaskConfig(fn_kwargs={"experiment": experiment, "device": "cuda" if cuda else "cpu"}),
        ray_remote_kwargs={"num_cpus": 1, "num_gpus": 1 if cuda else 0, "max_retries": 3},
    )


def validate(checkpoint: Any, experiment: dict[str, Any], device: str) -> dict[str, float]:
    """Score the snapshot that a reported checkpoint points at; the same numbers go to Ray and to rank 0's folder.

    Raises:
        Exception: whatever scoring met, a plug-in's own errors too; rank 0, which waits, is told by a file beside the
            snapshot.
    """
    with checkpoint.as_directory() as folder:
        snapshot = Path(json.loads((Path(folder) / POINTER).read_text(encoding="utf-8"))["snapshot"])
    try:
        score_snapshot(experiment, str(snapshot), device)
    except Exception as error:
        files.write_bytes(failure_of(snapshot), f"{type(error).__name__}: {error}".encode())
        raise
    return {
        name: float(value) for name, value in json.loads(beside.answer_of(snapshot).read_text(encoding="utf-8")).items()
    }


def starter(world: World, scratch: Path) -> beside.Start:
    """Reports a snapshot to Ray Train, on every rank. What it returns waits for rank 0's answer.

    The report is made without waiting for the controller, whose polling would stall training, and the
    checkpoint is a pointer: the weights stay in `scratch`, where a run that is started again finds them.
    """

    def start(path: Path) -> beside.Wait:
        from ray import train

        checkpoint = None
        if world.rank == 0:
            failure_of(path).unlink(missing_ok=True)
            pointer = scratch / "pointers" / path.stem
            files.write_json(pointer / POINTER, {"snapshot": str(path)})
            checkpoint = train.Checkpoint.from_directory(pointer)
        train.report(
            {},
            checkpoint=checkpoint,
            checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
            validation=world.rank == 0,
        )
        return lambda: wait(path)

    return start


def wait(snapshot: Path, patience: float = PATIENCE, every: float = 0.1) -> None:
    """Until the answer stands beside the snapshot.

    Raises:
        TrainingFailed: if scoring failed, or nothing came for `patience` seconds.
    """
    hint = "run it again, or set run.score_beside: never"
    end = time.monotonic() + patience
    while not beside.answer_of(snapshot).exists():
        if failure_of(snapshot).exists():
            why = failure_of(snapshot).read_text(encoding="utf-8")
            raise TrainingFailed(f"a snapshot could not be scored beside training: {why}; {hint}")
        if time.monotonic() > end:
            raise TrainingFailed(f"no score of {snapshot.name} came within {patience:,.0f} s; {hint}")
        time.sleep(every)


def failure_of(snapshot: Path) -> Path:
    """The file that says why a snapshot could not be scored."""
    return snapshot.with_suffix(".failed")
