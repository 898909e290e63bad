"""Ray Train around the one loop: as many workers as `run:` says, the same bytes for any number."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError

from pipeline.cluster.training import validation
from pipeline.cluster.training.progress_channel import ChannelReporter, ProgressChannel
from pipeline.cluster.training.resources import use_cuda
from pipeline.cluster.training.start_watchdog import StartWatchdog, patience, watch
from pipeline.contract import Record, Reporter, World
from pipeline.errors import Collapsed, ScratchRemoved, TrainingFailed, UserError
from pipeline.experiment import PUBLISHED, Experiment, fit_and_score, publish_run
from pipeline.formats.remote_checkpoints import GRIDS
from pipeline.run.addresses import resolve
from pipeline.run.settings import RunSettings
from pipeline.storage import files
from pipeline.storage.store import Store
from pipeline.training.worlds import TorchWorld

RAY = "ray"
REGROUP = 30  # seconds for the workers of a group whose size may change


def train(
    experiment: Experiment,
    run: RunSettings,
    reporter: Reporter,
    on_tick: Callable[[Record], None] | None = None,
    at_work: Any = None,
) -> Path:
    """Train inside a `session` on `run.num_workers` workers; returns the published model's folder.

    at_work: the channel of the search whose trial this is; workers report their start there too.

    Ray restarts dead workers up to `run.max_failures` times; each start goes on from the
    newest checkpoint in `experiment.scratch`, as does the next call after a dead driver.

    Raises:
        TrainingFailed: if the loop gave up, or the workers failed too often.
        Collapsed: if `experiment.stop_on_collapse` and the samples did.
        UserError: if settings or data are at fault.
    """
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    class Trainer(TorchTrainer):
        def _register_sigint_handler(self, controller: Any) -> None:
            """None: Ray's would end a run of Ctrl-C with exit code 0; `session` cleans up after KeyboardInterrupt."""

    published = Path(experiment.scratch) / PUBLISHED
    # What an earlier end left must not pass for this one's.
    shutil.rmtree(published, ignore_errors=True)
    if experiment.mirror:
        experiment.mirrored().remove(f"{PUBLISHED}.bundle")
    # A name of its own for each start. Ray (2.60) writes its record of a run in place, so a crash tears it, and a torn
    # one ends every later start of that name. Nothing of it is needed: checkpoints and scores are our own.
    scratch, name = Path(experiment.scratch) / RAY, f"{Path(experiment.scratch).name}-{uuid.uuid4().hex[:8]}"
    storage = experiment.mirrored().within(RAY) if experiment.mirror else Store(str(scratch))
    for earlier in storage.folders(""):
        storage.sweep(earlier)
    if run.elastic:
        # A lost node is counted for some seconds more: a group that waits for it is given up, and a smaller one made.
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(REGROUP)
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(run.collective_timeout)
    cuda = use_cuda(run)
    resources: dict[str, float] = {"CPU": run.cpus_per_worker}
    if cuda:
        resources["GPU"] = run.gpus_per_worker
    scored_beside = scores_beside(experiment, run)
    building = StartWatchdog(patience(run))

    def ticked(record: Record) -> None:
        building.has_ticked()
        if on_tick:
            on_tick(record)

    watching = watch(building, reporter, run)
    with ProgressChannel(reporter, on_tick=ticked, on_begun=building.has_begun) as channel, watching:
        trainer = Trainer(
            worker,
            train_loop_config={
                "experiment": experiment.as_json(),
                "channel": channel.actor,
                "device": "cuda" if cuda else "cpu",
                "beside": scored_beside,
                "at_work": at_work,
                "watch": resolve(run.address).kind != "private",
                "timeout": run.collective_timeout,
            },
            torch_config=TorchConfig(backend="nccl" if cuda else "gloo", timeout_s=run.collective_timeout),
            scaling_config=ScalingConfig(
                num_workers=run.num_workers,
                elastic_resize_monitor_interval_s=run.resize_interval,
                use_gpu=cuda,
                resources_per_worker=resources,
                placement_strategy=run.placement,
            ),
            run_config=RunConfig(
                name=name,
                storage_path=storage.uri,
                failure_config=FailureConfig(max_failures=run.max_failures),
            ),
            validation_config=validation.config(experiment.as_json(), cuda) if scored_beside else None,
        )
        try:
            trainer.fit()
        except (TrainingFailedError, RayError) as error:
            channel.close()
            experiment.intact()
            raise channel.failure or _died(error, Path(experiment.scratch) / "failure.txt") from None
    experiment.intact()
    if channel.failure:
        raise channel.failure
    if experiment.mirror and experiment.mirrored().holds(f"{PUBLISHED}.bundle"):
        store = experiment.mirrored()
        told = store.read(f"{PUBLISHED}.bundle")
        key = str(cast(dict[str, Any], told).get("bundle")) if isinstance(told, dict) else ""
        store.pull(key, Path(experiment.scratch), within=(PUBLISHED, GRIDS))
        store.sweep(RAY)
    if not (published / "history.jsonl").exists():
        raise TrainingFailed("the workers ended before the training did; run it again to go on")
    shutil.rmtree(scratch, ignore_errors=True)
    return published


def scores_beside(experiment: Experiment, run: RunSettings) -> bool:
    """Whether scores are computed while training goes on: `run` allows it, and the cluster that is up has room.

    Not where a score decides at once: a trial that ends on collapse, or the best average to publish. Nor with a
    number of workers that changes, as Ray Train's reports need all of them. Nor where nodes share no folder for the
    snapshots.
    """
    import ray

    decides = experiment.stop_on_collapse or experiment.settings.publish == "best"
    if run.score_beside == "never" or decides or run.elastic or experiment.store:
        return False
    room: Mapping[str, float] = ray.cluster_resources()
    if use_cuda(run) and room.get("GPU", 0) - run.most_workers * run.gpus_per_worker < 1:
        return False
    return room.get("CPU", 0) - run.most_workers * run.cpus_per_worker >= 1


def worker(config: dict[str, Any]) -> None:
    """One rank: the loop, then (rank 0) the published model. Runs in Ray's worker process."""
    from ray.util import get_current_placement_group

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if config["device"] == "cuda" else "cpu"
    reporter = ChannelReporter(config["channel"])
    if group := get_current_placement_group():
        for told in (reporter, ChannelReporter(config["at_work"]) if config["at_work"] else None):
            if told is not None:
                told.begun(group.id.hex())
    if reporter.ended():
        return
    lanes = Experiment(**config["experiment"]).settings.lanes
    world = TorchWorld.sharing(lanes, torch.device(device), config["timeout"])
    if world is None:
        return  # no lanes for this rank at the current world size; it idles until the next resize
    try:
        _work(config, world, reporter)
    except ScratchRemoved as error:
        # Rank 0's alone: the others wait for it.
        reporter.end(TrainingFailed, str(error))
        raise
    except TrainingFailed as error:
        # Every rank has come to this end, and trying again would meet it again.
        if world.rank == 0:
            reporter.end(type(error), str(error))
    except UserError as error:
        # Perhaps this rank's alone: the others may be waiting for it, so Ray has to end them.
        reporter.end(UserError, str(error))
        raise
    except (OSError, SafetensorError) as error:
        if files.disk_is_full(error):
            reporter.end(TrainingFailed, f"the disk is full: {error}")
        elif isinstance(error, FileNotFoundError):
            _tell_if_removed(config, reporter)
        raise


def _tell_if_removed(config: dict[str, Any], reporter: ChannelReporter) -> None:
    """Say why a file is not there, where all of the folder is not: a restart would begin in another."""
    try:
        Experiment(**config["experiment"]).intact()
    except ScratchRemoved as error:
        reporter.end(TrainingFailed, str(error))


def _work(config: dict[str, Any], world: World, reporter: Reporter) -> None:
    from ray.train import get_context

    experiment = Experiment(**config["experiment"])
    start = validation.starter(world, Path(experiment.scratch) / RAY) if config["beside"] else None
    # Ray agrees on a notice among all workers, and those that wait for a better size do not take part.
    watched = config["watch"] and get_context().get_world_size() == world.size
    outcome = fit_and_score(experiment, world, reporter, start, _taken_away if watched else None)
    if outcome.status == "collapsed":
        raise Collapsed(outcome.reason)
    if world.rank == 0:
        experiment.intact()
        here = publish_run(experiment, outcome).parent
        if experiment.mirror:
            store, parts = experiment.mirrored(), [PUBLISHED, *([GRIDS] if (here / GRIDS).is_dir() else [])]
            store.write(f"{PUBLISHED}.bundle", {"bundle": store.push(here, parts)})


def _taken_away() -> bool:
    """Whether the machine of a worker has had notice: a spot machine, or one that is drained."""
    from ray import train

    return train.get_preemption_info() is not None


def _died(error: Exception, path: Path) -> TrainingFailed:
    """The last line of a remote error, which is kept whole at `path`."""
    files.write_bytes(path, str(error).encode())
    return TrainingFailed(f"the workers failed: {last_line(error)} (the whole story: {path})")


def last_line(error: BaseException) -> str:
    """The sentence at the end of a remote traceback, without the exception's name."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"^[\w.]+: ", "", lines[-1].strip())
