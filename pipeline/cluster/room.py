"""What a training asks of the machine or the cluster, and what is left beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from pipeline.cluster.settings import RunSettings
from pipeline.experiment import Experiment
from pipeline.settings import UserError


def needed_cpus(run: RunSettings) -> int:
    """What the workers of a training ask for, of a private Ray."""
    return max(run.num_workers, round(run.num_workers * run.cpus_per_worker))


def private_cpus(run: RunSettings) -> int:
    """The size of a private Ray for a training: the workers', and one for its scores where there is one."""
    needed = needed_cpus(run)
    spare = run.score_beside == "always" or (run.score_beside == "auto" and (os.cpu_count() or 1) > needed)
    return needed + spare


def scores_beside(experiment: Experiment, run: RunSettings) -> bool:
    """Whether scores are made while training goes on: `run` allows it, and the cluster that is up has room.

    Not where a score decides at once: a trial that ends on collapse, or the best average to publish.
    """
    import ray

    if run.score_beside == "never" or experiment.stop_on_collapse or experiment.settings.publish == "best":
        return False
    room: Mapping[str, float] = ray.cluster_resources()
    if use_cuda(run) and room.get("GPU", 0) - run.num_workers * run.gpus_per_worker < 1:
        return False
    return room.get("CPU", 0) - run.num_workers * run.cpus_per_worker >= 1


def use_cuda(run: RunSettings) -> bool:
    """What `run.device` comes to here.

    Raises:
        UserError: if CUDA is asked for and this torch has none.
    """
    if run.device == "cpu":
        return False
    if run.device == "cuda" and not torch.cuda.is_available() and not run.address:
        raise UserError("run.device: cuda is asked for, and this torch sees no GPU; see 'GPUs' in the README")
    return run.device == "cuda" or torch.cuda.is_available()
