"""params.yaml as text: YAML 1.2's numbers, and no key twice."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Any, cast

import yaml

from pipeline.settings import SettingsError, shown

MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers (1e-4 is one), and a key said twice is a mistake, not a choice."""


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


def _float(loader: _Loader, node: yaml.ScalarNode) -> Any:
    return float(node.value.replace("_", ""))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:zerosum,2026:exponent",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
_Loader.add_constructor("tag:zerosum,2026:exponent", _float)


def parse(path: Path, sections: Collection[str]) -> dict[str, Any]:
    """The file's sections, unchecked; `sections` are those that it may hold.

    Raises:
        SettingsError: if it is missing, or not YAML, or not sections.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path.name} is missing from {path.parent.resolve()}; run this in the project") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not a text file in UTF-8: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from None
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise SettingsError(f"{path.name} is not valid YAML{place}: {problem}") from None
    except RecursionError:
        raise SettingsError(f"{path.name} is not valid YAML: it is nested too deeply") from None
    if data is None:
        raise SettingsError(f"{path.name} is empty; it must hold sections ({', '.join(sections)})")
    if not isinstance(data, dict):
        raise SettingsError(f"{path.name} must hold sections ({', '.join(sections)}), not {shown(data)}")
    return cast(dict[str, Any], data)
