"""Plug-ins of one room do not import each other; files that begin with `_` are the room's own shared ground."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline import plugins

ROOT = Path(__file__).parents[2] / "pipeline"


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("room", sorted(plugins.ROOMS))
def test_plugins_do_not_import_their_neighbours(room: str) -> None:
    package = f"pipeline.{room}"
    names = plugins.names(room)
    assert names, f"the room {room} is empty"
    for name in names:
        path = ROOT / room.replace(".", "/") / f"{name}.py"
        neighbours = {f"{package}.{other}" for other in names if other != name}
        taken = {module for module in imported(path) if any(module.startswith(other) for other in neighbours)}
        assert not taken, f"{path.name} imports {sorted(taken)}"


@pytest.mark.parametrize("room", sorted(plugins.ROOMS))
def test_every_plugin_has_its_config_and_its_class(room: str) -> None:
    for name in plugins.names(room):
        module = plugins.module(room, name)
        assert module.Config is not None
        assert isinstance(getattr(module, plugins.ROOMS[room]), type)
        assert module.__doc__, f"{room}/{name} does not say what it is"
