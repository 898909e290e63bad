"""pyproject.toml declares what the library imports, and nothing that it does not."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BY_COMMAND = {"dvc", "optuna"}  # `dvc repro` runs the stages; Ray Tune imports its searcher's library


def imported() -> set[str]:
    """Distributions that pipeline and stages import."""
    names: set[str] = set()
    for package in ("pipeline", "stages"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                    # A namespace package such as ruamel is of several distributions.
                    names.add(".".join(node.module.split(".")[: 2 if node.module.startswith("ruamel.") else 1]))
    foreign = names - set(sys.stdlib_module_names) - {"pipeline", "stages"}
    owners = metadata.packages_distributions()
    found = {name: [name] if "." in name else owners.get(name, []) for name in foreign}
    assert all(found.values()), found
    return {canonical(next(iter(sorted(owner, key=len)))) for owner in found.values()}


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {canonical(re.split(r"[\[=<>~! ]", line)[0]) for line in project["dependencies"]}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_imports_and_declarations_are_the_same() -> None:
    assert imported() - declared() == set()
    assert declared() - imported() - BY_COMMAND == set()
