"""All that `zerosum check` can check without work or a trace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pipeline.cluster.training.resources import use_cuda
from pipeline.data.opening import open_source
from pipeline.data.preview import foresee
from pipeline.errors import SettingsError, UserError
from pipeline.params import Params
from pipeline.preflight.items import items
from pipeline.preflight.scores import metric
from pipeline.run.addresses import resolve
from pipeline.scoring.precomputed import read_statistics
from pipeline.storage.filesystems import is_remote


def check(params: Params) -> list[str]:
    """All that can be checked without work or a trace: files, data, families, weights, the score that decides.

    Returns what could not be checked here, and why.

    Raises:
        UserError: with everything that is wrong.
    """
    said: list[str] = []
    problems: list[str] = []

    def attempt(checked: Callable[[], None]) -> None:
        try:
            checked()
        except SettingsError as error:
            problems.extend(error.problems)
        except UserError as error:
            problems.append(str(error))

    attempt(lambda: _storage(params))
    there = elsewhere(params)
    if there:
        said.append(f"{there} is not on this machine: the job of {params.run.address} will look for it")
    else:
        attempt(lambda: _items(params))
    statistics = params.reference.statistics
    if statistics is not None:
        attempt(lambda: _readable(Path(statistics)))
    attempt(lambda: metric(params))
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    return said


def elsewhere(params: Params) -> str:
    """The source's path where only a cluster's jobs may see it; else nothing."""
    if resolve(params.run.address).kind != "submit":
        return ""
    given = open_source(params.ingest).named().values()
    return next((path for path in given if Path(path).is_absolute() and not Path(path).exists()), "")


def _items(params: Params) -> None:
    """The data, and what its listing alone has ingest refuse."""
    source = open_source(params.ingest)
    items(params, source)
    foresee(params.ingest, source)


def _readable(statistics: Path) -> None:
    read_statistics(statistics, "reference.statistics")


def _storage(params: Params) -> None:
    """What `machine` checks, without making a folder."""
    use_cuda(params.run)
    if is_remote(params.run.storage):
        return
    path = Path(params.run.storage).absolute()
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "is not writable" if there.is_dir() else "is a file"
        raise SettingsError(f"run.storage: '{params.run.storage}' cannot be made: {there} {why}")
