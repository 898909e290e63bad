from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import plugins
from pipeline.augmentation import _affine, ada
from pipeline.augmentation._shared import filtered_down, filtered_up, rotation, sample_at, scaling, translation
from pipeline.contract import Ramp, State
from pipeline.errors import SettingsError


def images(count: int = 4, channels: int = 3, height: int = 16, width: int = 12) -> Tensor:
    return torch.rand((count, channels, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int = 24, width: int = 24) -> Tensor:
    """A smooth bump off the centre: resampling leaves it as it is."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.exp(-((x - 14) ** 2 + (y - 9) ** 2) / 18)[None, None]


def load(**keys: Any) -> ada.Augmentation:
    return plugins.load("augmentation", {"name": "ada", **keys})


def at(p: float) -> State:
    state = State(0)
    state.tensors = {**load().state(), ada.P: torch.tensor(p)}
    return state


# --- the filter and the resampling ------------------------------------------------------------


def test_sym6_is_an_orthonormal_wavelet() -> None:
    taps = torch.tensor(_affine.SYM6, dtype=torch.float64)
    assert taps.sum().item() == pytest.approx(math.sqrt(2), abs=1e-8)
    for shift in range(6):
        wanted = 1.0 if shift == 0 else 0.0
        assert (taps[2 * shift :] * taps[: 12 - 2 * shift]).sum().item() == pytest.approx(wanted, abs=1e-8)


def test_up_then_down_gives_the_image_back() -> None:
    """Orthonormal: the low-pass at even shifts, there and back, is the identity (where no border is near)."""
    taps = torch.tensor(_affine.SYM6, dtype=torch.float64) / sum(_affine.SYM6)
    x = images().double()
    wide = filtered_up(torch.nn.functional.pad(x, (12,) * 4), taps)
    assert wide.shape[2:] == (80, 72)
    torch.testing.assert_close(filtered_down(wide, taps, 0)[..., 12:-12, 12:-12], x)
    torch.testing.assert_close(
        filtered_up(torch.ones(1, 1, 20, 20).double(), taps)[..., 12:-12, 12:-12].mean().item(), 1.0
    )


def test_no_warp_is_no_change() -> None:
    x = images()
    torch.testing.assert_close(_affine.warp(x, torch.eye(3).repeat(4, 1, 1)), x, rtol=0, atol=1e-5)


def test_whole_pixels_are_moved_whole_and_borders_are_reflected() -> None:
    x = images()
    two = torch.full((4,), 2.0)
    moved = _affine.warp(x, translation(-two, 0 * two))
    torch.testing.assert_close(moved[..., 2:], x[..., :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[..., :2], x[..., [2, 1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("matrix", "wanted"),
    [
        (scaling(-torch.ones(1), torch.ones(1)), lambda x: x.flip(3)),
        (rotation(torch.tensor([math.pi / 2])), lambda x: torch.rot90(x, 1, (2, 3))),
        (rotation(torch.tensor([math.pi])), lambda x: torch.rot90(x, 2, (2, 3))),
    ],
)
def test_mirrors_and_quarter_turns(matrix: Tensor, wanted: Any) -> None:
    # sym6 is not quite symmetric: a mirrored image lies a tenth of a pixel off. Half a pixel would differ by 0.1.
    torch.testing.assert_close(_affine.warp(blob(), matrix), wanted(blob()), rtol=0, atol=0.03)


def test_scaling_in_place() -> None:
    """output → input by ½ is a picture twice as large about its centre."""
    half = torch.full((1,), 0.5)
    large = _affine.warp(blob(), scaling(half, half))
    # The bump at 2.5 right and 2.5 above the centre of 11.5 goes to 5 and 5.
    place = divmod(int(large.argmax()), 24)
    assert place[0] in (6, 7)
    assert place[1] in (16, 17)


def test_sampling_can_be_differentiated_twice() -> None:
    x = images(2, 1, 5, 4).double().requires_grad_()
    grid = torch.rand((2, 3, 6, 2), generator=seeded(), dtype=torch.float64) * 2.4 - 1.2
    assert torch.autograd.gradcheck(lambda each: sample_at(each, grid), (x,))
    assert torch.autograd.gradgradcheck(lambda each: sample_at(each, grid).square(), (x,))


# --- colours ----------------------------------------------------------------------------------


def test_colours_turn_about_grey() -> None:
    """Hue leaves greys alone; brightness, contrast and luma flip move them together."""
    matrix = _affine.colours(64, 1.0, seeded())
    grey = torch.tensor([0.4, 0.4, 0.4, 1.0])
    changed = (matrix @ grey)[:, :3]
    torch.testing.assert_close(changed, changed[:, :1].expand(-1, 3), rtol=1e-3, atol=1e-4)
    assert changed[:, 0].std() > 0.05


def test_grey_images_take_what_happens_to_grey() -> None:
    matrix = _affine.colours(4, 1.0, seeded())
    grey = images(4, 1)
    in_rgb = _affine.recolour(grey.expand(-1, 3, -1, -1), matrix)
    torch.testing.assert_close(_affine.recolour(grey, matrix), in_rgb[:, :1], rtol=1e-4, atol=1e-5)
    assert _affine.recolour(images(4, 4), matrix).shape == (4, 4, 16, 12)


def test_a_hole_is_half_of_each_side_at_most() -> None:
    y = _affine.cut(torch.ones(200, 1, 16, 12), 1.0, seeded())
    holes = (y == 0).sum((1, 2, 3))
    assert holes.max() == 8 * 6
    assert holes.min() < 8 * 6, "a centre near the border cuts less"
    assert torch.equal(_affine.cut(y, 0.0, seeded()), y)


# --- the pipeline -----------------------------------------------------------------------------


def test_at_zero_it_is_the_identity() -> None:
    x = images()
    assert load()(x, at(0.0), seeded()) is x


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_at_one_it_keeps_the_shape_and_changes_every_image(channels: int) -> None:
    x = images(8, channels)
    y = load(cutout=1.0)(x, at(1.0), seeded())
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert ((y - x).abs().amax((1, 2, 3)) > 0.05).all()


def test_equal_generators_give_equal_images() -> None:
    x, pipe = images(), load()
    assert torch.equal(pipe(x, at(0.7), seeded(1)), pipe(x, at(0.7), seeded(1)))
    assert not torch.equal(pipe(x, at(0.7), seeded(1)), pipe(x, at(0.7), seeded(2)))


def test_the_whole_pipeline_can_be_differentiated_twice() -> None:
    pipe, x = load(cutout=1.0), images(1, 1, 5, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda each: pipe(each, at(1.0), seeded(3)), (x,), atol=1e-3)
    assert torch.autograd.gradgradcheck(lambda each: pipe(each, at(1.0), seeded(3)).square(), (x,), atol=1e-3)


def test_the_share_of_changed_images_is_p() -> None:
    """Colour alone: an image stays with (1 − p)⁴·(1 − p/2): a luma flip is one of two."""
    p = 0.2
    matrix = _affine.colours(20_000, p, seeded())
    same = ((matrix - torch.eye(4)).abs().amax((1, 2)) < 1e-5).float().mean().item()
    assert same == pytest.approx((1 - p) ** 4 * (1 - p / 2), abs=0.015)


# --- p ----------------------------------------------------------------------------------------


def test_p_follows_the_sign_by_examples_over_half_a_million() -> None:
    pipe, state = load(interval=2), State(0)
    state.tensors = pipe.state()
    history: list[float] = []
    for step, sign in enumerate([0.9, 0.7, 0.5, 0.9, 0.1, 0.2, 0.1, 0.2], start=1):
        state.examples_seen = 64 * step
        pipe.after_step(state, sign)
        history.append(state.tensors[ada.P].item())
    up = 128 / 500_000
    # Means 0.8, 0.7, 0.15, 0.15 against the target 0.6: up, up, down, down, and never below 0.
    assert history == pytest.approx([0, up, up, 2 * up, 2 * up, up, up, 0], abs=1e-9)
    for step in (9, 10):
        state.examples_seen = 64 * step
        pipe.after_step(state, 0.0)
    assert state.tensors[ada.P].item() == 0.0


def test_steps_without_the_critic_do_not_count() -> None:
    pipe, state = load(interval=1), State(0, examples_seen=64)
    state.tensors = pipe.state()
    pipe.after_step(state, None)
    assert not any(bool(each) for each in state.tensors.values())


def test_a_fixed_or_ramped_p_has_no_state() -> None:
    ramp = Ramp(start=0.0, end=0.5, examples=100).model_dump()
    assert load(p=0.3).state() == {}
    assert load(p=0.3).probability(State(0)) == 0.3
    assert load(p=ramp).probability(State(0, examples_seen=50)) == 0.25


def test_a_pipeline_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="nothing would change"):
        load(blit=0, geometry=0, color=0)
