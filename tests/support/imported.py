"""Which of our modules the stages of a DAG really import: noted by their interpreters, Ray's workers too."""

from __future__ import annotations

import os
from pathlib import Path

HOOK = """
import os, sys

def note(event, arguments):
    if event == "import" and arguments[0].partition(".")[0] in ("pipeline", "stages"):
        with open(os.path.join({folder!r}, os.environ["DVC_STAGE"]), "a") as file:
            file.write(arguments[0] + "\\n")

if "DVC_STAGE" in os.environ:
    sys.addaudithook(note)
"""


def noting(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """`environment`, in which every interpreter that works for a stage notes its imports in `folder`."""
    hook = folder / "hook"
    hook.mkdir(parents=True)
    (hook / "sitecustomize.py").write_text(HOOK.format(folder=str(folder)))
    return {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{hook}"}


def noted(folder: Path, stage: str, root: Path) -> set[str]:
    """The modules that a stage's processes have imported; `from a import b` also looks for a module a.b, in vain."""
    found = set((folder / stage).read_text().split())
    return {name for name in found if _is_module(root.joinpath(*name.split(".")))}


def _is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
