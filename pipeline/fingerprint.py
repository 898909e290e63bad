"""Which modules some code imports, and a digest of what each of them does: comments and docstrings count for nothing.

A stage depends on the modules that it and its chosen plug-ins import, directly or not. They are found in the text of
the imports, inside functions too, without importing anything. `importlib.import_module` is not followed: plug-ins
are found by name, so the caller names those that were chosen.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

PASSED_OVER = frozenset({"kind", "type_comment", "type_ignores"})  # fields of syntax that change nothing


def closure(entries: Iterable[str], packages: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """The file of every module that `entries` import, directly or not, themselves included; sorted by name.

    packages: the folders of each top-level package that is followed, in the order in which they are looked through;
    imports of others are passed over. A module's parent packages run before it, so they belong to it.

    Raises:
        ModuleNotFoundError: if an entry is in none of the packages.
        SyntaxError: if a module is not Python.
    """
    found: dict[str, Path] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = file_of(name, packages)
        if path is None:
            folders = [str(folder) for each in packages.values() for folder in each]
            raise ModuleNotFoundError(f"there is no module {name} in {', '.join(folders)}")
        found[name] = path
        parent = name.rpartition(".")[0]
        waiting.extend([parent] if parent else [])
        try:
            names = _imports(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            error.filename = str(path)
            raise
        waiting.extend(other for other in names if file_of(other, packages))
    return dict(sorted(found.items()))


def digests(modules: Mapping[str, Path]) -> dict[str, str]:
    """The digest of each module, and of each file named after one: the template `report.html.j2` of `report.py`."""
    found: dict[str, str] = {}
    for name, path in modules.items():
        found[name] = digest(path.read_text(encoding="utf-8"))
        for other in sorted(path.parent.glob(f"{path.stem}.*")):
            if other.suffix != ".py":
                found[f"{name} ({other.name})"] = hashlib.sha256(other.read_bytes()).hexdigest()
    return found


@cache
def digest(source: str) -> str:
    """A sha256 of the syntax tree, equal where only comments, layout or docstrings differ.

    Raises:
        SyntaxError: if it is not Python.
    """
    return hashlib.sha256(json.dumps(_plain(ast.parse(source)), separators=(",", ":")).encode()).hexdigest()


def file_of(module: str, packages: Mapping[str, Sequence[Path]]) -> Path | None:
    """The file of a module; None where it is in none of the packages, or names no file there."""
    top, *rest = module.split(".")
    for folder in packages.get(top, ()):
        path = folder.joinpath(*rest)
        for candidate in (path / "__init__.py", *([path.with_suffix(".py")] if rest else [])):
            if candidate.is_file():
                return candidate
    return None


@cache
def _imports(source: str) -> tuple[str, ...]:
    """Names that may be modules: `from a import b` imports a, and b may be a module of it."""
    names: list[str] = []
    for node in _executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement but those below `if TYPE_CHECKING:`, which no interpreter runs."""
    yield node
    unused: list[ast.stmt] = node.body if isinstance(node, ast.If) and _checks_types(node.test) else []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case) and child not in unused:
            yield from _executed(child)


def _checks_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _plain(value: Any) -> Any:
    """A node as lists, strings and numbers: without lines and columns, docstrings and fields that are empty."""
    if isinstance(value, ast.AST):
        fields = (each for each in ast.iter_fields(value) if each[0] not in PASSED_OVER and each[1] not in (None, []))
        return [type(value).__name__, *((name, _plain(each)) for name, each in fields)]
    if isinstance(value, list):
        return [_plain(each) for each in cast(list[Any], value) if not _says_nothing(each)]
    return value if isinstance(value, str | int | float) else repr(value)


def _says_nothing(node: Any) -> bool:
    """A docstring, or any other string that stands alone as a statement."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
