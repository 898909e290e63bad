"""One name, one thing: no two public classes of the library have the same name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import plugins

ROOT = Path(__file__).parents[2] / "pipeline"


def classes(text: str) -> Iterator[str]:
    """The public classes that a module defines, those within functions and classes too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def prescribed(path: Path) -> set[str]:
    """What a plug-in's file has to call its classes: its Config, and the class that is named for the room."""
    room = ".".join(path.parent.relative_to(ROOT).parts)
    plugin = room in plugins.ROOMS and path.stem in plugins.names(room)
    return {"Config", plugins.ROOMS[room]} if plugin else set()


def defined(root: Path) -> dict[str, list[str]]:
    """Class → the files that define it, but for the names that rooms prescribe."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for name in classes(path.read_text(encoding="utf-8")):
            if name not in prescribed(path):
                found[name].append(str(path.relative_to(root)))
    return found


def test_no_public_class_has_another_s_name() -> None:
    assert {name: paths for name, paths in defined(ROOT).items() if len(paths) > 1} == {}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("families/dcgan.py", {"Config", "Family"}),
        ("data/sources/idx.py", {"Config", "Source"}),
        ("families/_adversarial.py", set[str]()),
        ("training/loop.py", set[str]()),
    ],
)
def test_a_room_prescribes_names_to_its_plug_ins_alone(path: str, wanted: set[str]) -> None:
    assert prescribed(ROOT / path) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("class A: ...\nclass _B: ...", ["A"]),
        ("class A:\n    class C: ...\ndef f():\n    class D: ...", ["A", "C", "D"]),
        ("A = 1\ndef B(): ...", []),
    ],
)
def test_public_classes_are_found_wherever_they_stand(text: str, wanted: list[str]) -> None:
    assert sorted(classes(text)) == wanted
