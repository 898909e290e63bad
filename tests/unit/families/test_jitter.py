"""Random jitter of the translators: enlarged, cut back at random, mirrored; a pair as one, two domains apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline import plugins
from pipeline.contract import AnyFamily, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.families._translation import Jitter, jittered
from pipeline.types import DataSpec

SPEC = DataSpec("image", (1, 16, 16))
CANONICAL = {
    "pix2pix": ("facades256", "unet128", "pixel128"),
    "cyclegan": ("horse2zebra256", "images128"),
    "cut": ("horse2zebra256", "fast256"),
}


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=source(7)) * 2 - 1


def test_the_papers_figures_are_the_defaults() -> None:
    assert (256 * Jitter().enlarge, Jitter().mirror) == (286, 0.5)


@pytest.mark.parametrize(("mirror", "wanted"), [(0.0, lambda x: x), (1.0, lambda x: x.flip(3))])
def test_without_enlargement_an_image_is_itself_or_its_mirror(mirror: float, wanted: Any) -> None:
    x = images(3, 2, 5, 6)
    assert torch.equal(jittered(x, Jitter(enlarge=1, mirror=mirror), source()), wanted(x))


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 12), width=st.integers(1, 12), enlarge=st.floats(1, 2), seed=st.integers(0, 99))
def test_size_and_range_are_kept_and_a_flat_image_stays_flat(
    height: int, width: int, enlarge: float, seed: int
) -> None:
    x = images(2, 3, height, width).sign()
    found = jittered(x, Jitter(enlarge=enlarge), source(seed))
    assert found.shape == x.shape
    assert found.abs().max() <= 1
    flat = torch.full_like(x, 0.3)
    torch.testing.assert_close(jittered(flat, Jitter(enlarge=enlarge), source(seed)), flat)


def test_256_pixels_are_cut_from_286_at_31_places_alike() -> None:
    """A ramp tells where it was cut: enlarged, its pixel k has the value of place (k + ½)·256/286 − ½."""
    ramp = torch.linspace(-0.5, 0.5, 256).expand(3100, 1, 1, 256)
    found = jittered(ramp, Jitter(mirror=0), source())
    middle = (found[:, 0, 0, 128] + 0.5) * 255
    offsets = (middle + 0.5) * 286 / 256 - 0.5 - 128
    assert (offsets - offsets.round()).abs().max() < 0.01
    counts = torch.bincount(offsets.round().long())
    assert len(counts) == 31
    assert (counts - 100).abs().max() < 50


def test_half_of_the_images_are_mirrored() -> None:
    ramp = torch.linspace(-0.5, 0.5, 64).expand(2000, 1, 1, 64)
    found = jittered(ramp, Jitter(), source())[:, 0, 0]
    assert abs(int((found[:, 32] < found[:, 31]).sum()) - 1000) < 100


def test_rows_and_columns_are_cut_apart() -> None:
    """Of a sum of a ramp down and a ramp across, each example has an offset of its own on each axis."""
    down, across = (torch.linspace(-0.4, 0.4, 256).view(shape) for shape in ((256, 1), (1, 256)))
    found = jittered((down + across).expand(8, 1, 256, 256), Jitter(mirror=0), source())
    # Bicubic keeps a plane, whose level is the sum of both offsets; slopes stay.
    steps = found[:, 0, 128, 129] - found[:, 0, 128, 128], found[:, 0, 129, 128] - found[:, 0, 128, 128]
    for step in steps:
        torch.testing.assert_close(step, torch.full((8,), 0.8 / 255 * 256 / 286), rtol=1e-2, atol=1e-6)
    assert len(found[:, 0, 128, 128].unique()) > 4


# --- in the families --------------------------------------------------------------------------


def turn_of(family: AnyFamily, batch: Any, phase: str = "discriminator", lane: int = 0, seen: int = 0) -> Turn:
    count = len(batch["x"])
    noise, state = draw_latents(family.latents, count, source(1)), State(seed=5, examples_seen=seen)
    return Turn(family.build(SPEC), batch, noise, state, lane, phase, lane_state=family.lane_state(SPEC, count))


def load(name: str, **keys: Any) -> AnyFamily:
    torch.manual_seed(0)
    return plugins.load("families", {"name": name, "preset": "smoke", **keys})


def seen_by(network: Any) -> list[Tensor]:
    found: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, given: found.append(given[0].detach()))
    return found


def test_both_halves_of_a_pair_are_jittered_alike_and_once_a_step() -> None:
    family = load("pix2pix", jitter={})
    x = images(4, 1, 16, 16)
    turn = turn_of(family, {"x": x, "pair": x})
    shown, made_of = seen_by(turn.networks["discriminator"]), seen_by(turn.networks["generator"])
    family.phases()[0].objective(turn)
    on_real = shown[0]
    assert torch.equal(on_real[:, :1], on_real[:, 1:]), "equal halves stay equal"
    assert torch.equal(made_of[0], on_real[:, :1]), "G translates what D compares with"
    assert not torch.equal(on_real[:, :1], x)
    turn.phase = "generator"
    parts = family.phases()[1].objective(turn)
    assert len(made_of) == 1
    assert torch.equal(shown[2][:, :1], on_real[:, :1])
    fake = shown[2][:, 1:]
    torch.testing.assert_close(parts["l1"], (on_real[:, 1:] - fake).abs().mean())


def test_two_domains_are_jittered_apart_and_once_a_step() -> None:
    family = load("cyclegan", jitter={}, identity=0)
    x = images(4, 1, 16, 16)
    turn = turn_of(family, {"x": x, "unpaired": x}, "generators")
    forth, back = (seen_by(turn.networks[f"generator_{side}"]) for side in ("forth", "back"))
    shown = seen_by(turn.networks["discriminator_forth"])
    family.phases()[0].objective(turn)
    assert not torch.equal(forth[0], back[0]), "each domain has draws of its own"
    assert not torch.equal(back[0], x)
    turn.phase = "discriminators"
    family.phases()[1].objective(turn)
    assert torch.equal(shown[1], back[0]), "D sees the reals that G went back from"


@pytest.mark.parametrize(("name", "field"), [("pix2pix", "pair"), ("cyclegan", "unpaired")])
def test_draws_are_counted(name: str, field: str) -> None:
    """Equal counters give equal numbers; another step, another lane and no jitter give others."""
    batch = {"x": images(4, 1, 16, 16), field: images(4, 1, 16, 16)}

    def total(on: bool = True, **counters: int) -> float:
        family = load(name, jitter={} if on else None)
        phase = family.phases()[0]
        return phase.objective(turn_of(family, batch, phase.name, **counters))["total"].item()

    assert total() == total()
    assert len({total(), total(seen=8), total(lane=1), total(on=False)}) == 4


@pytest.mark.parametrize("name", sorted(CANONICAL))
def test_published_presets_jitter_and_small_ones_do_not(name: str) -> None:
    presets = plugins.module("families", name).PRESETS
    assert set(presets) == {*CANONICAL[name], "zoo", "smoke"}
    for preset in presets:
        config = plugins.load("families", {"name": name, "preset": preset}).config
        assert config.jitter == (Jitter() if preset in CANONICAL[name] else None), preset


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"jitter\.enlarge"):
        load("pix2pix", jitter={"enlarge": 0.9})
    with pytest.raises(SettingsError, match="did you mean 'mirror'"):
        load("cyclegan", jitter={"miror": 0.2})
