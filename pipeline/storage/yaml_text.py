"""The one way in which YAML is read and written: by the library that DVC uses, as YAML 1.2, so that both read the same.

No key twice, no merge keys, no tags, and nothing that stands for much more than it says: ten lines of aliases can mean
ten thousand million values, so what they stand for is counted, and bounded. A date is text.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver, implicit_resolvers

from pipeline import limits
from pipeline.errors import SettingsError

MERGE, TIMESTAMP, VALUE = (f"tag:yaml.org,2002:{name}" for name in ("merge", "timestamp", "value"))
WIDE = 2**16  # columns: no line is broken


class _Resolver(VersionedResolver):
    """YAML 1.2's kinds of plain words, but no dates, and no `=`, which has no meaning here."""

    def __init__(self, *arguments: Any, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        for versions, tag, pattern, letters in implicit_resolvers:
            if (1, 2) in versions and tag not in (TIMESTAMP, VALUE):
                self.add_version_implicit_resolver((1, 2), tag, pattern, letters)


class _Words(VersionedResolver):
    """Every plain word is text."""

    def __init__(self, *arguments: Any, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        self.add_version_implicit_resolver((1, 2), "tag:yaml.org,2002:str", re.compile(""), [None])


class _Composer(Composer):
    """Nodes, counted as they are made."""

    nodes = repeated = deep = 0
    weights: dict[str, int]

    def __init__(self, *arguments: Any, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        self.weights = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.parser.peek_event()
        if isinstance(event, AliasEvent):
            # Not known yet: of a value that holds itself, or of nothing, which the library tells.
            weight = self.weights.get(event.anchor, limits.YAML_REPEATED + 1 if event.anchor in self.anchors else 0)
            self.repeated += weight
            self.nodes += weight
            if self.repeated > limits.YAML_REPEATED:
                most = limits.YAML_REPEATED
                _refuse(f"its aliases (*{event.anchor[:40]}) stand for more than {most} values; write them out", event)
            return super().compose_node(parent, index)
        if event.ctag is not None:
            _refuse(f"tags ({str(event.ctag)[:40]}) are not read; write the value alone, or in quotes", event)
        if event.anchor is not None and event.anchor in self.weights:
            _refuse(f"the anchor &{event.anchor[:40]} stands twice", event)
        if self.deep >= limits.YAML_DEPTH:
            _refuse(f"it is nested more than {limits.YAML_DEPTH} levels deep", event)
        before = self.nodes
        self.nodes += 1
        if self.nodes > limits.YAML_VALUES + self.repeated:
            _refuse(f"it holds more than {limits.YAML_VALUES} values", event)
        self.deep += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.deep -= 1
            if event.anchor is not None:
                self.weights[event.anchor] = self.nodes - before


class _Constructor(SafeConstructor):
    """Values; a key said twice is a mistake, not a choice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag) == MERGE:
                _refuse("merge keys (<<) are not read; write the keys out", key_node)
            name = self.construct_object(key_node, deep=True)
            if not isinstance(name, Hashable):
                _refuse("a key must be a plain word", key_node)
            if name in found:
                _refuse(f"the key '{name}' stands twice", key_node)
            found[name] = self.construct_object(value_node, deep=True)
        return found

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > limits.JSON_DIGITS:
            _refuse(f"a number of {len(node.value)} digits; {limits.JSON_DIGITS} are read", node)
        try:
            value = super().construct_yaml_int(node)
            str(value)  # one to the base of 16 has more digits than it is written with
            return value
        except (ValueError, IndexError):
            return _refuse(f"{node.value[:40]!r} is no number", node)

    def construct_yaml_float(self, node: Any) -> float:
        try:
            return super().construct_yaml_float(node)
        except (ValueError, IndexError):
            return _refuse(f"{node.value[:40]!r} is no number", node)


for _kind in ("int", "float"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_kind}", getattr(_Constructor, f"construct_yaml_{_kind}"))


class _Representer(SafeRepresenter):
    """What stands twice in a value is written out twice, and keys are in their order."""

    def __init__(self, *arguments: Any, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        self.sort_base_mapping_type_on_output = False

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _refuse(problem: str, where: Any) -> Any:
    raise ConstructorError(None, None, problem, where.start_mark)


def dump(value: Any) -> str:
    """`value` as YAML that `load` reads."""
    writer = YAML(typ="safe", pure=True)
    writer.Representer = _Representer
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.width = WIDE
    text = io.StringIO()
    writer.dump(value, text)
    return text.getvalue().removesuffix("...\n")


def load(text: str, name: str, *, words: bool = False) -> Any:
    """What a YAML document says; `name` is the file's, in errors.

    words: leave every plain word as it is written, numbers and `yes` too.

    Raises:
        SettingsError: with line and column, if it is none, or says what is not read.
    """
    if len(text.encode("utf-8", "surrogatepass")) > limits.YAML_BYTES:
        raise SettingsError(f"{name} has more than {limits.YAML_BYTES} bytes, which are read of such a file")
    reader = YAML(typ="safe", pure=True)
    reader.Resolver = _Words if words else _Resolver
    reader.Composer, reader.Constructor = _Composer, _Constructor
    try:
        return reader.load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem if isinstance(error, MarkedYAMLError) else None
        raise SettingsError(f"{name} is not valid YAML{place}: {problem or ' '.join(str(error).split())}") from None
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
