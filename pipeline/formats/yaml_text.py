"""The one way in which YAML is read: 1.2's numbers, no key twice, and nothing that stands for much more than it says.

Ten lines of aliases can mean ten thousand million values: those that they stand for are counted, and bounded. Merge
keys and tags are refused. A date or 1:30 is text, as in YAML 1.2.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline import limits
from pipeline.settings import SettingsError

MERGE = "tag:yaml.org,2002:merge"
INT, FLOAT, TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
EXPONENT = "tag:zerosum,2026:exponent"
SIGNS = list("-+0123456789.")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers (1e-4 is one), and a key said twice is a mistake, not a choice."""

    depth = nodes = repeated = 0

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.weights: dict[str | None, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            # Not known yet: of a value that holds itself, or of nothing, which the library tells.
            weight = self.weights.get(event.anchor, limits.YAML_REPEATED + 1 if event.anchor in self.anchors else 0)
            self.repeated += weight
            self.nodes += weight
            if self.repeated > limits.YAML_REPEATED:
                most = limits.YAML_REPEATED
                self._refuse(
                    f"its aliases (*{event.anchor[:40]}) stand for more than {most} values; write them out", event
                )
            return super().compose_node(parent, index)
        if event.tag is not None:
            self._refuse(f"tags ({event.tag[:40]}) are not read; write the value alone, or in quotes", event)
        if self.depth >= limits.YAML_DEPTH:
            self._refuse(f"it is nested more than {limits.YAML_DEPTH} levels deep", event)
        before = self.nodes
        self.nodes += 1
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1
            if event.anchor is not None:
                self.weights[event.anchor] = self.nodes - before

    def _refuse(self, problem: str, event: yaml.Event) -> None:
        raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if key_node.tag == MERGE:
            raise yaml.MarkedYAMLError(
                None, None, "merge keys (<<) are not read; write the keys out", key_node.start_mark
            )
        name = loader.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
        if not isinstance(name, Hashable):
            raise yaml.MarkedYAMLError(None, None, "a key must be a plain word", key_node.start_mark)
        if name in found:
            raise yaml.MarkedYAMLError(None, None, f"the key '{name}' stands twice", key_node.start_mark)
        found[name] = loader.construct_object(value_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
    return found


def _exponent(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(node.value.replace("_", ""))


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > limits.JSON_DIGITS:
        problem = f"a number of {len(node.value)} digits; {limits.JSON_DIGITS} are read"
        raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)
    try:
        value: int = loader.construct_yaml_int(node)
        str(value)  # one to the base of 16 has more digits than it is written with
    except ValueError:
        raise yaml.MarkedYAMLError(None, None, f"{node.value[:40]!r} is no number", node.start_mark) from None
    return value


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    try:
        return loader.construct_yaml_float(node)
    except ValueError:
        raise yaml.MarkedYAMLError(None, None, f"{node.value[:40]!r} is no number", node.start_mark) from None


# SafeLoader's kinds of plain words, but 1.1's dates, and numbers to the base of 60.
_Loader.yaml_implicit_resolvers = {
    letter: [kind for kind in kinds if kind[0] not in (INT, FLOAT, TIMESTAMP)]
    for letter, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(INT, re.compile(r"^[-+]?(0b[0-1_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"), SIGNS[:-1])
_Loader.add_implicit_resolver(
    FLOAT,
    re.compile(
        r"^([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)"
        r"|\.(nan|NaN|NAN))$"
    ),
    SIGNS,
)
_Loader.add_implicit_resolver(EXPONENT, re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), SIGNS[:-1])
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor(EXPONENT, _exponent)
_Loader.add_constructor(INT, _int)
_Loader.add_constructor(FLOAT, _float)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(value: Any) -> str:
    """`value` as YAML that `load` reads: what stands twice in it is written out twice."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def load(text: str, name: str) -> Any:
    """What a YAML document says; `name` is the file's, in errors.

    Raises:
        SettingsError: with line and column, if it is none, or says what is not read.
    """
    if len(text.encode("utf-8", "surrogatepass")) > limits.YAML_BYTES:
        raise SettingsError(f"{name} has more than {limits.YAML_BYTES} bytes, which are read of such a file")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise SettingsError(f"{name} is not valid YAML{place}: {problem}") from None
    except RecursionError:
        raise SettingsError(f"{name} is not valid YAML: it is nested too deeply") from None


def read(path: Path) -> Any:
    """The same of a file.

    Raises:
        FileNotFoundError: if it is missing.
        SettingsError: if it cannot be read, is too large, or as `load`.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SettingsError(f"{path.name} is not a regular file")
            data = file.read(limits.YAML_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(data) > limits.YAML_BYTES:
        raise SettingsError(f"{path.name} has more than {limits.YAML_BYTES} bytes, which are read of such a file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not a text file in UTF-8: {error}") from None
    return load(text, path.name)
