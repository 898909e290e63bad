"""The code a served model takes along: the rooms sampling needs, under a name of their own.

An MLflow model with code on its path shares `sys.path` with whatever loads it. Named `pipeline`,
the code would be shadowed by another checkout, or shadow it, and two versions could not be loaded
side by side. So the copy is a package named for the sha256 of its content, and imports itself.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pipeline import fingerprint, own_plugins, plugins
from pipeline.storage import files

TOP = "pipeline"
ENTRY = (
    "pipeline.sampling.samples",
    "pipeline.sampling.labels",
    "pipeline.sampling.texts",
    "pipeline.data.columns",
)
STAYING = frozenset({"assets", "data.sources", "data.transforms", "extractors", "metrics", "families", "explorations"})
ALWAYS_REQUIRED = ("mlflow", "numpy", "pandas")


@dataclass(frozen=True)
class Package:
    """A travelling copy: its name, its folder, and the distributions it imports, pinned."""

    name: str
    folder: Path
    requirements: tuple[str, ...]


def pack(family: str, target: Path) -> Package:
    """Write the package that samples from `family` into `target`; equal code gives an equal name."""
    sources = _here(family)
    package = name_of(sources)
    for name, source in sources.items():
        inner = name.split(".")[1:]
        path = [*inner, "__init__"] if _file(name).stem == "__init__" else inner
        destination = target.joinpath(package, *path).with_suffix(".py")
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(renamed(source, package), encoding="utf-8")
    return Package(package, target / package, _requirements(sources.values()))


def name_of(sources: Mapping[str, str]) -> str:
    """The package's name, for its content: sources by module, as they are here."""
    return f"zerosum_{files.sha256_json(dict(sources))[:12]}"


def is_here(sources: Mapping[str, str], family: str) -> bool:
    """Whether these are the modules that packing `family` here would take, to the letter."""
    return family in plugins.names("families") and dict(sources) == _here(family)


def _here(family: str) -> dict[str, str]:
    return {name: _file(name).read_text(encoding="utf-8") for name in closure(family)}


def closure(family: str) -> list[str]:
    """Modules that sampling from `family` imports, directly or not, and the plug-ins it may name."""
    rooms = sorted(set(plugins.ROOMS) - STAYING)
    named = [f"{TOP}.{room}.{plugin}" for room in rooms for plugin in plugins.names(room)]
    waiting = [*ENTRY, f"{TOP}.families.{family}", *named]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        parent = name.rpartition(".")[0]
        tree = ast.parse(_file(name).read_text(encoding="utf-8"))
        waiting.extend([parent] if parent else [])
        waiting.extend(_own_imports(tree))
    return sorted(found)


def renamed(source: str, package: str, top: str = TOP) -> str:
    """`source` with every import of `top`, the project, turned into one of `package`.

    Raises:
        ValueError: for `import pipeline.x` without a name, whose uses could not be told from text.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(_is_own(alias.name, top) for alias in node.names):
            if any(alias.asname is None for alias in node.names):
                raise ValueError(f"line {node.lineno}: write `from {TOP} import …`, or give the module a name")
        elif not (isinstance(node, ast.ImportFrom) and node.level == 0 and _is_own(node.module or "", top)):
            continue
        # Columns count bytes of UTF-8, and what stands before an import is white space.
        line, start = lines[node.lineno - 1], node.col_offset
        count = 1 if isinstance(node, ast.ImportFrom) else 0
        lines[node.lineno - 1] = line[:start] + re.sub(rf" {top}(?=\.| )", f" {package}", line[start:], count=count)
    return "".join(lines)


def _own_imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_own(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _is_own(node.module):
            yield node.module
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in inner if _exists(name))


def _requirements(sources: Iterable[str]) -> tuple[str, ...]:
    """Distributions imported by `sources`, pinned to what is installed; builds (`+cpu`) left off."""
    trees = [ast.parse(source) for source in sources]
    names = {name.partition(".")[0] for tree in trees for name in _imported(tree)} | set(ALWAYS_REQUIRED)
    foreign = names - set(sys.stdlib_module_names) - {TOP}
    distributions = {found for name in foreign if (found := _distribution(name)) is not None}
    return tuple(f"{name}=={metadata.version(name).partition('+')[0]}" for name in sorted(distributions))


def _distribution(module: str) -> str | None:
    """Who ships `module`; mostly one of the same name, which spares reading every file list installed."""
    try:
        return metadata.distribution(module).metadata["Name"]
    except metadata.PackageNotFoundError:
        return next(iter(metadata.packages_distributions().get(module, [])), None)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def _is_own(name: str, top: str = TOP) -> bool:
    return name.partition(".")[0] == top


def _exists(name: str) -> bool:
    return fingerprint.file_of(name, {TOP: own_plugins.folders()}) is not None


def _file(name: str) -> Path:
    found = fingerprint.file_of(name, {TOP: own_plugins.folders()})
    if found is None:
        raise ModuleNotFoundError(f"there is no module {name}")
    return found
