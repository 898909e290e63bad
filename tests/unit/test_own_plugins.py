"""A project's own plug-ins: found by name after the library's, hashed and packed with what they import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline.losses
from pipeline import fingerprint, own_plugins, plugins
from pipeline.errors import SettingsError
from pipeline.registry import packaging

LOSS = """
from pipeline.losses import _mine_too
from pipeline.losses.hinge import Config as Config
from pipeline.losses.hinge import Loss as Loss
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "plugins"
    (folder / "losses").mkdir(parents=True)
    (folder / "losses/mine.py").write_text(LOSS)
    (folder / "losses/_mine_too.py").write_text("")
    monkeypatch.setenv(own_plugins.VARIABLE, str(folder))
    yield folder
    for name in ("mine", "_mine_too"):
        sys.modules.pop(f"pipeline.losses.{name}", None)
        vars(pipeline.losses).pop(name, None)


def test_they_are_found_by_name_like_the_librarys(own: Path) -> None:
    assert "mine" in plugins.names("losses")
    assert "hinge" in plugins.names("losses")
    assert "_mine_too" not in plugins.names("losses")
    assert plugins.names("families") == [path.stem for path in sorted(library("families")) if path.stem[0] != "_"]
    loaded = plugins.load("losses", {"name": "mine"})
    assert type(loaded).__module__ == "pipeline.losses.hinge"
    assert plugins.module("losses", "mine").__file__ == str(own / "losses/mine.py")


def library(room: str) -> list[Path]:
    return list((Path(own_plugins.__file__).parent / room).glob("*.py"))


@pytest.mark.usefixtures("own")
def test_without_the_variable_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(own_plugins.VARIABLE)
    assert "mine" not in plugins.names("losses")
    with pytest.raises(SettingsError, match="mine"):
        plugins.load("losses", {"name": "mine"})
    with pytest.raises(ModuleNotFoundError):
        __import__("pipeline.losses.mine")


def test_they_belong_to_the_code_of_a_stage_and_of_a_registered_model(own: Path) -> None:
    found = fingerprint.closure(["pipeline.losses.mine"], {"pipeline": own_plugins.folders()})
    assert found["pipeline.losses.mine"] == own / "losses/mine.py"
    assert found["pipeline.losses._mine_too"] == own / "losses/_mine_too.py"
    assert "pipeline.losses.hinge" in found
    assert {"pipeline.losses.mine", "pipeline.losses._mine_too"} <= set(packaging.closure("dcgan"))


def test_one_named_as_the_librarys_is_refused(own: Path) -> None:
    (own / "losses/hinge.py").write_text("")
    with pytest.raises(SettingsError, match=str(own / "losses/hinge.py")):
        plugins.names("losses")


def test_a_folder_that_nobody_asked_for_is_named(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_plugins.unused(own.parent) is None
    monkeypatch.delenv(own_plugins.VARIABLE)
    assert own_plugins.unused(own.parent) == own
    assert own_plugins.unused(own) is None
