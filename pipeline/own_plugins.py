"""A project's own plug-ins: files in its folder `plugins/`, found by name like the library's.

    plugins/families/mine.py          is  pipeline.families.mine
    plugins/data/sources/mine.py      is  pipeline.data.sources.mine

They run with all rights of whoever runs them, so a folder is used only where somebody asks for it: the stages of a
project use the `plugins/` beside their params.yaml, and every other process that of the environment variable
`ZEROSUM_PLUGINS`, which the project's Makefile sets. A file of the library's comes before one of the same name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

VARIABLE = "ZEROSUM_PLUGINS"
FOLDER = "plugins"
LIBRARY = "pipeline"


class Finder(MetaPathFinder):
    """Looks for `pipeline.<…>` in the folder of the variable, after all others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's file below the folder; None where it has none."""
        found = file_of(fullname)
        return None if found is None else PathFinder.find_spec(fullname, [str(found.parent)], target)


def folder() -> Path | None:
    """The folder whose plug-ins are used, absolute; None where none is.

    A registered model's copy of the library, which goes by another name, brings all that it needs.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named and __package__ == LIBRARY else None


def unused(project: Path) -> Path | None:
    """The folder of plug-ins in `project` if nobody asked for any; None where it has none."""
    found = project / FOLDER
    return found if folder() is None and next(found.rglob("*.py"), None) else None


def use(path: Path) -> None:
    """Use the plug-ins in `path`, here and in processes that this one starts."""
    os.environ[VARIABLE] = str(path.absolute())


def folders() -> list[Path]:
    """Where modules of `pipeline` are: the library's folder, and the project's own."""
    own = folder()
    return [Path(__file__).parent, *([own] if own else [])]


def file_of(module: str) -> Path | None:
    """The file in that folder that is this module of the library's; None where there is none."""
    found, (top, *rest) = folder(), module.split(".")
    if found is None or top != __package__ or not rest:
        return None
    path = found.joinpath(*rest).with_suffix(".py")
    return path if path.is_file() else None


def files(room: str) -> list[str]:
    """The plug-ins of a room in that folder by name, sorted; files whose name begins with `_` are shared by others."""
    found = folder()
    paths = [] if found is None else found.joinpath(*room.split(".")).glob("*.py")
    return sorted(path.stem for path in paths if not path.name.startswith("_"))


sys.meta_path.append(Finder())
