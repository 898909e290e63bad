"""What slow tests share: projects whose first stages have been run once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage import private

Fork = Callable[..., Path]


def pytest_configure() -> None:
    import processes

    processes.hear_interrupts()
    # As `make` has it: DVC's own choice is open to every user of the machine.
    if "DVC_SITE_CACHE_DIR" not in os.environ:
        own = private.own_site_cache()
        for folder in (own, own / "repo"):
            folder.mkdir(mode=0o700, exist_ok=True)
        os.environ["DVC_SITE_CACHE_DIR"] = str(own)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with shards and reference; four lanes."""
    import checkout
    import once
    import processes

    def make(project: Path) -> str:
        checkout.copy(project, {"train.lanes": 4})
        return "".join(processes.finished(project, stage) for stage in ("ingest", "reference"))

    return once.project(tmp_path_factory, "measured", make)[0]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project in which `dvc repro` has run through, all six stages, and what it printed."""
    import matrix
    import once

    return once.project(tmp_path_factory, "whole", matrix.complete)


@pytest.fixture
def fork(tmp_path: Path) -> Fork:
    """Copies a project with what it has made so far: `fork(project, overrides, name)`."""
    import checkout

    def copied(project: Path, overrides: Mapping[str, Any] | None = None, name: str = "project") -> Path:
        target = tmp_path / name
        shutil.copytree(project, target, symlinks=True)
        checkout.configure(target, overrides or {})
        return target

    return copied


@pytest.fixture(scope="session")
def unsearched(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`measured` and a search that was left out: ready to train."""
    import checkout
    import once
    import processes

    def make(project: Path) -> str:
        shutil.copytree(measured, project, symlinks=True)
        # Long enough that whoever waits for a tick can still meet the training under way.
        checkout.configure(project, {"tune.trials": 0, "train.examples": 9600})
        said = processes.finished(project, "tune")
        assert "using the settings as they are" in said
        return said

    return once.project(tmp_path_factory, "unsearched", make)[0]


@pytest.fixture(scope="session")
def trained(unsearched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An unbroken training on two workers, and what it printed."""
    import once
    import processes

    def make(project: Path) -> str:
        shutil.copytree(unsearched, project, symlinks=True)
        return processes.finished(project, "train")

    return once.project(tmp_path_factory, "trained", make)


@pytest.fixture(scope="session")
def searched(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An unbroken search of four trials, two by two, and what it printed."""
    import checkout
    import once
    import processes

    def make(project: Path) -> str:
        shutil.copytree(measured, project, symlinks=True)
        checkout.configure(project, {"tune.trials": 4})
        return processes.finished(project, "tune")

    return once.project(tmp_path_factory, "searched", make)
