"""What is made once for all processes of a test run, by whichever asks first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

SAID = "said.txt"


def project(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """The folder that `make` fills, and what it answered. It is everybody's: who changes anything takes a copy."""
    base = factory.getbasetemp()
    # Each process of pytest-xdist has a folder of its own in the run's.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once" / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        if not (folder / SAID).exists():
            shutil.rmtree(folder, ignore_errors=True)
            said = make(folder / "project")
            (folder / SAID).write_text(said)
    return folder / "project", (folder / SAID).read_text()
