"""The family in docs/adding.md is one: found by its file's name, trained, resumed, and the same on two workers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from games import IMAGES, Interrupted, Killer, content, train

import pipeline.families
from pipeline import plugins
from pipeline.contract import AnyFamily, draw_latents
from pipeline.errors import SettingsError
from pipeline.types import DataSpec

PAGE = Path(__file__).parents[2] / "docs/adding.md"
LONGEST = 36  # lines


@pytest.fixture(scope="module")
def shown() -> str:
    (text,) = re.findall(r"```python\n(# pipeline/families/tiny\.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    return text


@pytest.fixture
def tiny(shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnyFamily:
    """The page's text as a file of the families room."""
    (tmp_path / "tiny.py").write_text(shown)
    monkeypatch.setattr(pipeline.families, "__path__", [*pipeline.families.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "pipeline.families.tiny", raising=False)
    assert "tiny" in plugins.names("families")
    return plugins.load("families", {"name": "tiny", "width": 4, "latent": 6})


def test_it_is_short(shown: str) -> None:
    assert len(shown.splitlines()) <= LONGEST


def test_it_trains_and_resumes_exactly(tiny: AnyFamily, tmp_path: Path) -> None:
    outcome = train(tiny, IMAGES, tmp_path / "whole")
    assert outcome.status == "finished"
    assert outcome.state.examples_seen == 128
    with pytest.raises(Interrupted):
        train(tiny, IMAGES, tmp_path / "torn", reporter=Killer(3))
    train(tiny, IMAGES, tmp_path / "torn")
    assert content(tmp_path / "whole") == content(tmp_path / "torn")


def test_it_has_what_every_design_has(tiny: AnyFamily, tmp_path: Path) -> None:
    keys = {"loss": "relativistic", "penalties": ["r1", {"name": "r2", "every": 2}], "augment": "diff_augment"}
    family: AnyFamily = plugins.load("families", {"name": tiny.name, "width": 4, "latent": 6, **keys})
    assert [phase.name for phase in family.phases()] == ["discriminator", "r2", "generator"]
    assert train(family, IMAGES, tmp_path, examples=32).status == "finished"


def test_it_samples_pictures_of_any_shape(tiny: AnyFamily) -> None:
    spec = DataSpec("image", (3, 12, 20))
    noise = draw_latents(tiny.latents, 2, torch.Generator().manual_seed(0))
    sample = tiny.sample(tiny.build(spec), noise, {})
    assert sample.shape == (2, 3, 12, 20)
    assert sample.abs().max() <= 1
    with pytest.raises(SettingsError, match=r"families\.tiny"):
        tiny.check(DataSpec("image", (3, 10, 10)))


def test_its_keys_are_checked(tiny: AnyFamily) -> None:
    with pytest.raises(SettingsError, match="did you mean 'width'"):
        plugins.load("families", {"name": "tiny", "with": 3})
    with pytest.raises(SettingsError, match="conditional: true is not allowed"):
        plugins.load("families", {"name": "tiny", "conditional": True})
    with pytest.raises(SettingsError, match="there is no loss 'hing'; did you mean 'hinge'"):
        plugins.load("families", {"name": "tiny", "loss": "hing"})
