"""What a training asks of the machine or the cluster, and what is left beside it."""

from __future__ import annotations

import os

import torch

from pipeline.errors import UserError
from pipeline.run.addresses import resolve
from pipeline.run.settings import RunSettings
from pipeline.storage.filesystems import is_remote


def needed_cpus(run: RunSettings) -> int:
    """What the workers of a training ask for, of a private Ray."""
    return max(run.most_workers, round(run.most_workers * run.cpus_per_worker))


def private_cpus(run: RunSettings) -> int:
    """The size of a private Ray for a training: the workers', and one for its scores where there is one."""
    needed = needed_cpus(run)
    spare = run.score_beside == "always" or (run.score_beside == "auto" and (os.cpu_count() or 1) > needed)
    return needed + spare


def spreads(run: RunSettings, examples: int, least: int = 0) -> bool:
    """Whether work over this number of examples goes through Ray: several workers, and enough to do."""
    return run.most_workers > 1 and examples >= least


def shares_folders(run: RunSettings) -> bool:
    """Whether Ray's workers see the folders of this project."""
    return not is_remote(run.storage) or resolve(run.address).kind == "private"


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
