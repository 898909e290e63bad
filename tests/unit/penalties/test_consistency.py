from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pipeline import plugins
from pipeline.errors import SettingsError
from pipeline.penalties._orthogonal import orthogonality
from pipeline.penalties.consistency import Config, Penalty

IMAGES = torch.arange(2 * 1 * 4 * 8, dtype=torch.float32).view(2, 1, 4, 8)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_flip_alone_mirrors_the_last_axis() -> None:
    penalty = Penalty(Config(flip=1.0, shift=0.0))
    assert torch.equal(penalty.augment(IMAGES, source()), IMAGES.flip(-1))


def test_a_shift_alone_repeats_the_border() -> None:
    penalty = Penalty(Config(flip=0.0, shift=0.25))
    ramp = torch.arange(8.0).expand(200, 1, 8, 8)
    shifted = penalty.augment(ramp, source())
    offsets = {tuple(row) for row in shifted[:, 0, 0].tolist()}
    wanted = {tuple(min(max(i - k, 0), 7) for i in range(8)) for k in range(-2, 3)}
    assert offsets == wanted
    assert (shifted[:, :, 1:] == shifted[:, :, :-1]).all(), "the other axis moves by itself"


def test_of_a_sum_over_pixels_flips_cost_nothing_and_shifts_their_border() -> None:
    total = lambda x: x.flatten(1).sum(1)  # noqa: E731
    assert Penalty(Config(flip=0.5, shift=0.0))(total, IMAGES, IMAGES, source()).item() == 0
    assert Penalty(Config(flip=0.5, shift=0.25))(total, IMAGES, IMAGES, source()).item() > 0


def test_value_is_the_weighted_mean_square_of_the_difference() -> None:
    penalty = Penalty(Config(real=3.0, fake=0.0, flip=1.0, shift=0.0))
    first = lambda x: x[:, 0, 0, 0]  # noqa: E731
    assert penalty(first, IMAGES, IMAGES, source()).item() == pytest.approx(3 * 7**2)
    balanced = Penalty(Config(real=3.0, fake=2.0, flip=1.0, shift=0.0))
    assert balanced(first, IMAGES, 2 * IMAGES, source()).item() == pytest.approx(3 * 49 + 2 * 196)
    assert (penalty.needs_fake, balanced.needs_fake) == (False, True)


def test_draws_come_from_the_generator() -> None:
    penalty = Penalty(Config())
    assert torch.equal(penalty.augment(IMAGES, source()), penalty.augment(IMAGES, source()))
    assert not torch.equal(penalty.augment(IMAGES, source()), penalty.augment(IMAGES, source(1)))


@pytest.mark.parametrize("keys", [{"real": 0}, {"flip": 0, "shift": 0}, {"shift": 0.7}])
def test_what_would_do_nothing_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        plugins.load("penalties", {"name": "consistency", **keys})


def test_orthogonality_is_zero_of_orthogonal_rows_and_counts_pairs_once() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.data.copy_(torch.tensor([[2.0, 0, 0], [0, 5.0, 0]]))
    assert orthogonality(layer).item() == 0
    layer.weight.data.copy_(torch.tensor([[2.0, 0, 0], [3.0, 5.0, 0]]))
    assert orthogonality(layer).item() == pytest.approx(36)
    assert orthogonality(layer, [layer.weight]).item() == 0
