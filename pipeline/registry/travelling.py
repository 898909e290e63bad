"""Who wrote the code in a registered model: decided by the content of its files, none of which is run.

A model of this project holds one package, named for the sha256 of its sources (`packaging`), and `served_model.py`.
Anybody can name a package for its content, so only code that is equal to the code here is called ours.
"""

from __future__ import annotations

import os
import re
import stat
from enum import Enum
from pathlib import Path
from typing import Any, cast

from pipeline import limits
from pipeline.errors import Damaged, SettingsError, UserError
from pipeline.registry import packaging
from pipeline.storage import yaml_text

CODE = "served_model.py"
PACKAGE = re.compile(r"zerosum_[0-9a-f]{12}")
LOADER = "mlflow.pyfunc.loaders.code_model"


class Whose(Enum):
    """Who wrote the code that travels with a model."""

    OURS = "equal to the code here"
    OTHERS = "a package named for its content, of another version or of somebody else"
    UNKNOWN = "of nobody that is known"


def whose(folder: Path) -> Whose:
    """Who wrote the code in the MLflow model in `folder`. Reads text alone."""
    try:
        if not _is_form(_read_yaml(folder / "MLmodel")):
            return Whose.UNKNOWN
        (package,) = [each for each in (folder / "code").iterdir() if each.name != "__pycache__"]
        sources = _sources(package)
        served = _text(folder / CODE)
    except (OSError, ValueError, RecursionError, MemoryError, SettingsError):
        return Whose.UNKNOWN
    if package.name != packaging.name_of(sources):
        return Whose.UNKNOWN
    family = next((name for name in sources if re.fullmatch(r"pipeline\.families\.[a-z]\w*", name)), "")
    if served == _text(Path(__file__).with_name(CODE)) and packaging.is_here(sources, family.rpartition(".")[2]):
        return Whose.OURS
    return Whose.OTHERS


def regular(folder: Path) -> None:
    """Refuse a model's folder that holds anything but files and folders: a link may lead to any file, or to no end.

    Raises:
        UserError: naming the first.
    """
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(f"{path} is a link, or no file at all, and a registered model holds files; remove it")


def _is_form(about: Any) -> bool:
    """Whether MLflow would load it as it loads what `serving.build` makes."""
    flavours = about.get("flavors") if isinstance(about, dict) else None
    if not isinstance(flavours, dict) or set(cast(dict[str, Any], flavours)) != {"python_function"}:
        return False
    found = cast(dict[str, Any], flavours)["python_function"]
    wanted = {"loader_module": LOADER, "code": "code", "model_code_path": CODE}
    return isinstance(found, dict) and all(cast(dict[str, Any], found).get(key) == to for key, to in wanted.items())


def _read_yaml(path: Path) -> Any:
    return yaml_text.load(_text(path, limits.YAML_BYTES), path.name)


def _sources(package: Path) -> dict[str, str]:
    """The package's modules by the names that they have here, each as it is here."""
    if PACKAGE.fullmatch(package.name) is None or package.is_symlink():
        raise Damaged("no package of ours")
    found: dict[str, str] = {}
    left = limits.CODE_BYTES
    for number, path in enumerate(sorted(package.rglob("*"))):
        if number >= limits.CODE_FILES or path.is_symlink():
            raise Damaged("too many files, or a link")
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        if path.suffix != ".py":
            raise Damaged("more than sources")
        text = _text(path, left)
        left -= len(text.encode())
        parts = [packaging.TOP, *path.relative_to(package).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = packaging.renamed(text, packaging.TOP, package.name)
    return found


def _text(path: Path, most: int = limits.CODE_BYTES) -> str:
    """A regular file's text, at most `most` bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Damaged(f"{path.name} is no regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise Damaged(f"{path.name} is too large")
    return data.decode()
