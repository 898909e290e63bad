"""The definitions of infra/ as tests read them: parsed YAML, pins of the lock files, programs beside this Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"


def documents(path: Path) -> list[dict[str, Any]]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def parsed(path: Path) -> dict[str, Any]:
    """The one document of a YAML file."""
    (found,) = documents(path)
    return found


def pins(path: Path) -> dict[str, str]:
    """Name → version of a lock file."""
    lines = [line.split()[0] for line in path.read_text().splitlines() if "==" in line]
    return dict(line.split("==") for line in lines)


def tool(name: str, *arguments: str | Path) -> None:
    """A program of this environment, which must find nothing wrong."""
    command = [str(Path(sys.executable).parent / name), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
