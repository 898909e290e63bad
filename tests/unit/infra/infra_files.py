"""The definitions of infra/ as tests read them: parsed YAML, pins of the lock files, programs beside this Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
YOURS = re.compile(r"#\s*yours\b")


def parsed(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text())


def documents(path: Path) -> list[dict[str, Any]]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))


def pins(path: Path) -> dict[str, str]:
    """Name (in lower case, with dashes) → version of a lock file; every line has to be an exact pin with its hashes."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    found = [
        re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)( --hash=sha256:[0-9a-f]{64})+", line) for line in lines
    ]
    assert all(found), f"{path.name}: {[line for line, match in zip(lines, found, strict=True) if not match]}"
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def lock() -> dict[str, str]:
    """The project's pins."""
    return pins(ROOT / "requirements.lock")


def tool(name: str, *arguments: str | Path) -> str:
    """What a program of this environment prints when it finds nothing wrong."""
    command = [str(Path(sys.executable).parent / name), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def walk(tree: Any) -> list[tuple[str, Any]]:
    """Every value of a nested structure with its dotted path."""
    if isinstance(tree, dict):
        inner = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        inner = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return []
    found: list[tuple[str, Any]] = []
    for key, value in inner:
        found.append((key, value))
        found += [(f"{key}.{path}", leaf) for path, leaf in walk(value)]
    return found
