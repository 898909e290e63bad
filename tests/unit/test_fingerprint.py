from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import fingerprint

SOURCE = '''"""A module."""

from __future__ import annotations

import a.b
from a import c, d as e

X = {"k": 1}  # a comment


class K:
    """A class."""

    def f(self, x: int = 1) -> str:
        """A function."""
        return f"{x!r:>3}" "text"
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another."""'),
        ('"""A module."""\n', ""),
        ('    """A class."""\n', '    "Other words."\n'),
        ('        """A function."""\n', ""),
        ("  # a comment", ""),
        ("X = ", "# above\n\n\nX   =   "),
        ('{"k": 1}', "{\n    'k': 1,\n}"),
        ("X = {", "'What X is.'\nX = {"),
    ],
)
def test_words_for_people_change_no_digest(old: str, new: str) -> None:
    changed = SOURCE.replace(old, new, 1)
    assert changed != SOURCE
    assert fingerprint.digest(changed) == fingerprint.digest(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1}", "2}"),
        ("1}", "True}"),
        ("1}", "1.0}"),
        ("1}", "'1'}"),
        ("1}", "b'1'}"),
        ("1}", "-1}"),
        ("1}", "None}"),
        ("import a.b", "import a.c"),
        ("d as e", "d"),
        ("int = 1", "int = 2"),
        ("int = 1", "int"),
        ("x: int", "*, x: int"),
        ("!r", "!s"),
        (":>3", ":>4"),
        ('"text"', '"Text"'),
        ("class K:", "class K(str):"),
        ("    def f", "    @staticmethod\n    def f"),
        ("    def f", "    async def f"),
        ("        return ", "        print('said')\n        return "),
    ],
)
def test_what_changes_the_work_changes_the_digest(old: str, new: str) -> None:
    changed = SOURCE.replace(old, new, 1)
    assert changed != SOURCE
    assert fingerprint.digest(changed) != fingerprint.digest(SOURCE)


@pytest.fixture
def package(tmp_path: Path) -> dict[str, list[Path]]:
    """`top`, with a room of three modules."""
    sources = {
        "__init__.py": "",
        "one.py": "import top.room.two\n\ndef f():\n    from top.room import three\n",
        "other.py": "",
        "typed.py": "if TYPE_CHECKING:\n    from top import one\nelse:\n    from top import other\n",
        "tried.py": "try:\n    import top.one\nexcept ImportError:\n    match 1:\n        case 1: import top.typed",
        "room/__init__.py": "",
        "room/two.py": "from top import other as them, NOTHING\nimport numpy",
        "room/three.py": "from top.one import f",
        "room/three.html": "<p>",
    }
    for name, source in sources.items():
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return {"top": [tmp_path / "top"]}


def names(*entries: str, package: dict[str, list[Path]]) -> list[str]:
    return list(fingerprint.closure(entries, package))


def test_imports_are_followed_inside_functions_and_in_circles(package: dict[str, list[Path]]) -> None:
    expected = ["top", "top.one", "top.other", "top.room", "top.room.three", "top.room.two"]
    assert names("top.one", package=package) == expected
    assert names("top.room.three", package=package) == expected
    assert names("top.room.two", package=package) == ["top", "top.other", "top.room", "top.room.two"]
    assert names("top.tried", package=package) == [*expected, "top.tried", "top.typed"]


def test_imports_for_type_checkers_are_not(package: dict[str, list[Path]]) -> None:
    assert names("top.typed", package=package) == ["top", "top.other", "top.typed"]


def test_an_entry_that_is_not_there_is_an_error(package: dict[str, list[Path]]) -> None:
    for entry in ("top.gone", "elsewhere.one"):
        with pytest.raises(ModuleNotFoundError, match=entry):
            names(entry, package=package)


def test_a_file_named_after_its_module_belongs_to_it(package: dict[str, list[Path]]) -> None:
    modules = fingerprint.closure(["top.room.three"], package)
    before = fingerprint.digests(modules)
    (package["top"][0] / "room/three.html").write_text("<b>")
    after = fingerprint.digests(modules)
    assert {name for name in after if before[name] != after[name]} == {"top.room.three (three.html)"}
