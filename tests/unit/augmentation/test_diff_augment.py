from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import plugins
from pipeline.contract import Augmentation, State
from pipeline.errors import SettingsError

STATE = State(0)


def images(count: int = 6, channels: int = 3, height: int = 16, width: int = 8) -> Tensor:
    return torch.rand((count, channels, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def load(*policy: str, **keys: Any) -> Augmentation:
    return plugins.load(
        "augmentation", {"name": "diff_augment", **({"policy": list(policy)} if policy else {}), **keys}
    )


def test_equal_generators_give_equal_images_and_no_state() -> None:
    x, pipe = images(), load()
    assert torch.equal(pipe(x, STATE, seeded(1)), pipe(x, STATE, seeded(1)))
    assert not torch.equal(pipe(x, STATE, seeded(1)), pipe(x, STATE, seeded(2)))
    assert pipe.state() == {}


def test_translations_are_whole_pixels_of_an_eighth_with_zeros() -> None:
    x = torch.ones(300, 1, 16, 8)
    y = load("translation")(x, STATE, seeded())
    assert set(y.unique().tolist()) == {0.0, 1.0}
    rows, columns = y.amax(3).sum(2), y.amax(2).sum(2)
    assert set(rows.flatten().tolist()) == {14.0, 15.0, 16.0}
    assert set(columns.flatten().tolist()) == {7.0, 8.0}


def test_a_translation_moves_the_picture() -> None:
    x = torch.zeros(200, 1, 8, 8)
    x[:, :, 4, 4] = 1
    y = load("translation")(x, STATE, seeded())
    places = {divmod(int(each.argmax()), 8) for each in y}
    assert places == {(4 + dy, 4 + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}


def test_a_hole_has_half_of_each_side() -> None:
    y = load("cutout")(torch.ones(500, 1, 16, 8), STATE, seeded())
    holes = (y == 0).sum((1, 2, 3))
    assert holes.max() == 8 * 4
    assert holes.min() == 4 * 2, "centred on a corner, a quarter of it is inside"


def test_colours_move_as_published() -> None:
    """One grey image: brightness moves it within ±½, saturation and contrast leave it flat."""
    x = torch.full((4000, 3, 4, 4), 0.25)
    y = load("color")(x, STATE, seeded())
    torch.testing.assert_close(y, y[:, :1, :1, :1].expand_as(y), rtol=0, atol=1e-5)
    moved = (y - x)[:, 0, 0, 0]
    assert moved.min().item() == pytest.approx(-0.5, abs=0.01)
    assert moved.max().item() == pytest.approx(0.5, abs=0.01)


def test_contrast_scales_about_the_mean() -> None:
    x = images(2000, 1, 4, 4)
    y = load("color")(x, STATE, seeded())
    factor = y.std((1, 2, 3)) / x.std((1, 2, 3))
    assert factor.min().item() == pytest.approx(0.5, abs=0.01)
    assert factor.max().item() == pytest.approx(1.5, abs=0.01)


def test_it_can_be_differentiated_twice() -> None:
    x = images(2, 3, 6, 4).double().requires_grad_()
    pipe = load()
    assert torch.autograd.gradgradcheck(lambda each: pipe(each, STATE, seeded(3)).square(), (x,))


def test_flips() -> None:
    x = images(400)
    pipe = plugins.load("augmentation", {"name": "flips"})
    y = pipe(x, STATE, seeded())
    mirrored = (y == x.flip(3)).flatten(1).all(1)
    assert ((y == x).flatten(1).all(1) ^ mirrored).all()
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.1)
    both = plugins.load("augmentation", {"name": "flips", "horizontal": 1.0, "vertical": 1.0})
    assert torch.equal(both(x, STATE, seeded()), x.flip(2, 3))
    pipe.after_step(STATE, 1.0)
    assert pipe.state() == {}


def test_an_augmentation_named_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="list each once"):
        load("color", "color")
