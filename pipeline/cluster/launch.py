"""Ray Train around the one loop: as many workers as `run:` says, the same bytes for any number."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.cluster.mailbox import Mailbox, MailboxReporter
from pipeline.cluster.settings import RunSettings
from pipeline.contract import Record, Reporter
from pipeline.experiment import Experiment
from pipeline.settings import UserError


def train(
    experiment: Experiment, run: RunSettings, reporter: Reporter, on_tick: Callable[[Record], None] | None = None
) -> Path:
    """Train on `run.num_workers` workers inside a `session`; returns the published model's folder.

    Ray restarts dead workers up to `run.max_failures` times; each start goes on from the
    newest checkpoint in `experiment.scratch`, as does the next call after a dead driver.

    Raises:
        UserError: if the loop gave up, or the workers could not be started.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    published = Path(experiment.scratch) / "published"
    # A name never used before: Ray's own snapshot of an earlier start is not read back.
    scratch = Path(experiment.scratch) / "ray"
    shutil.rmtree(scratch, ignore_errors=True)
    cuda = use_cuda(run)
    resources: dict[str, float] = {"CPU": run.cpus_per_worker}
    if cuda:
        resources["GPU"] = run.gpus_per_worker
    with Mailbox(reporter, on_tick=on_tick) as mailbox:
        trainer = TorchTrainer(
            worker,
            train_loop_config={
                "experiment": experiment.as_json(),
                "mailbox": mailbox.actor,
                "published": str(published),
                "device": "cuda" if cuda else "cpu",
            },
            torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=run.num_workers,
                use_gpu=cuda,
                resources_per_worker=resources,
                placement_strategy=run.placement,
            ),
            run_config=RunConfig(
                name=uuid.uuid4().hex[:12],
                storage_path=str(scratch),
                failure_config=FailureConfig(max_failures=run.max_failures),
            ),
        )
        try:
            trainer.fit()
        except RuntimeError as error:
            mailbox.deliver()
            raise UserError(mailbox.failure or f"training failed: {_first_line(error)}") from error
    if mailbox.failure:
        raise UserError(mailbox.failure)
    shutil.rmtree(scratch, ignore_errors=True)
    return published


def worker(config: dict[str, Any]) -> None:
    """One rank: the loop, then (rank 0) the published model. Runs in Ray's worker process."""
    import torch

    from pipeline.experiment import Experiment, fit_and_score, publish
    from pipeline.formats import files
    from pipeline.settings import UserError
    from pipeline.training.health import TrainingFailed
    from pipeline.training.worlds import TorchWorld

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if config["device"] == "cuda" else "cpu"
    world = TorchWorld(torch.device(device))
    reporter = MailboxReporter(config["mailbox"])
    experiment = Experiment(**config["experiment"])
    try:
        outcome = fit_and_score(experiment, world, reporter)
    except (TrainingFailed, UserError) as error:
        # Trying again would meet the same end: tell the driver, and let every rank leave.
        if world.rank == 0:
            reporter.failed(str(error))
        return
    if world.rank == 0:
        out = Path(config["published"])
        publish(experiment, outcome, out)
        lines = [json.dumps(record, sort_keys=True) + "\n" for record in outcome.history]
        files.write_bytes(out / "history.jsonl", "".join(lines).encode())


def use_cuda(run: RunSettings) -> bool:
    """What `run.device` comes to here.

    Raises:
        UserError: if CUDA is asked for and this torch has none.
    """
    if run.device == "cpu":
        return False
    import torch

    if run.device == "cuda" and not torch.cuda.is_available() and not run.address:
        raise UserError("run.device: cuda is asked for, and this torch sees no GPU; see 'GPUs' in the README")
    return run.device == "cuda" or torch.cuda.is_available()


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
