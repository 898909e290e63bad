"""LAPGAN and CycleGAN, which have several discriminators each, with an augmentation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import plugins
from pipeline.contract import AnyFamily, Networks, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.types import Batch, DataSpec, FieldSpec

COUNT = 4
UNPAIRED = FieldSpec.usual("unpaired", "image", (3, 32, 32), "other_domain")
SPEC = DataSpec("image", (3, 32, 32), ("a", "b", "c"), fields=(UNPAIRED,))
DRAW = torch.Generator().manual_seed(0)
X, OTHER = (torch.rand((COUNT, *SPEC.shape), generator=DRAW) * 2 - 1 for _ in range(2))
CUTOUT: dict[str, Any] = {"name": "diff_augment", "policy": ["cutout"]}
PLAYERS = {
    "lapgan": ({f"discriminator_{level}": f"discriminator_{level}" for level in (0, 1)}, "generator_1"),
    "cyclegan": ({f"discriminator_{side}": "discriminators" for side in ("forth", "back")}, "generators"),
}
"""Each discriminator and its phase; a phase of generators."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(name: str, **keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": name, "preset": "smoke", **keys})


def turn_of(family: AnyFamily, networks: Networks, phase: str, state: State | None = None) -> Turn:
    batch: Batch = {"x": X, "unpaired": OTHER, "label": torch.arange(COUNT) % 3}
    noise = draw_latents(family.latents_for(SPEC), COUNT, torch.Generator().manual_seed(1))
    kept = family.lane_state(SPEC, COUNT)
    return Turn(networks, batch, noise, state or State(seed=0), 0, phase, lane_state=kept)


def play(family: AnyFamily, networks: Networks, phase: str, state: State | None = None) -> dict[str, Tensor]:
    (found,) = (each for each in family.phases() if each.name == phase)
    return found.objective(turn_of(family, networks, phase, state))


@pytest.mark.parametrize("name", sorted(PLAYERS))
def test_all_that_every_discriminator_sees_is_augmented(name: str) -> None:
    """Cutout blackens a square of each image; without it nothing is black."""
    discriminators, generators = PLAYERS[name]
    for augment, black in ((None, False), (CUTOUT, True)):
        family = small(name, augment=augment)
        networks = family.build(SPEC)
        for discriminator, phase in discriminators.items():
            seen: list[Tensor] = []
            hook = networks[discriminator].register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
            play(family, networks, phase)
            assert len(seen) == 2, "reals and fakes"
            if discriminator[-1] in generators or name == "cyclegan":
                play(family, networks, generators)
                assert len(seen) == 3
            hook.remove()
            assert all(bool((x == 0).flatten(1).any(dim=1).all()) is black for x in seen)


@pytest.mark.parametrize("name", sorted(PLAYERS))
def test_gradients_reach_every_generator_through_it(name: str) -> None:
    family = small(name, augment={"name": "ada", "p": 0.7})
    networks = family.build(SPEC)
    _, phase = PLAYERS[name]
    player = next(each for each in family.players() if each.name == phase)
    owned = [parameter for network in player.networks for parameter in networks[network].parameters()]
    gradients = torch.autograd.grad(play(family, networks, phase)["total"], owned)
    assert all(bool(each.isfinite().all()) for each in gradients)
    assert any(bool(each.any()) for each in gradients)


@pytest.mark.parametrize("name", sorted(PLAYERS))
def test_ada_watches_the_mean_sign_over_all_discriminators(name: str) -> None:
    family = small(name, loss="hinge", augment={"name": "ada", "interval": 1})
    networks, state = family.build(SPEC), State(seed=0, examples_seen=500)
    state.tensors.update(family.state(SPEC))
    observed: dict[str, float] = {}
    for phase in {*PLAYERS[name][0].values()}:
        parts = play(family, networks, phase, state)
        assert parts["augment_p"].item() == 0
        observed |= {f"{phase}/{part}": value.item() for part, value in parts.items()}
    signs = [key for key in observed if key.partition("/")[2].startswith("sign")]
    assert len(signs) == 2
    assert all(-1 <= observed[key] <= 1 for key in signs)
    # The target is 0.6: above it p grows, below it p shrinks, and never under 0.
    for second, wanted in ((0.5, 500 / 500_000), (-1.0, 0.0)):
        moment = State(seed=0, examples_seen=500, tensors=family.state(SPEC))
        family.after_step(networks, moment, {**observed, signs[0]: 1.0, signs[1]: second})
        assert moment.tensors["augment_p"].item() == pytest.approx(wanted)


@pytest.mark.parametrize("name", sorted(PLAYERS))
def test_without_one_there_is_neither_state_nor_sign(name: str) -> None:
    family = small(name)
    networks = family.build(SPEC)
    assert family.state(SPEC) == {}
    family.after_step(networks, State(seed=0), {})
    for phase in PLAYERS[name][0].values():
        assert not [part for part in play(family, networks, phase) if part.startswith("sign")]


def test_a_penalty_sees_images_as_the_loss_does() -> None:
    family = small("cyclegan", augment=CUTOUT, penalties="r1")
    networks = family.build(SPEC)
    seen: list[Tensor] = []
    networks["discriminator_back"].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    assert play(family, networks, "discriminators")["penalty_back"] > 0
    assert len(seen) == 3
    assert all(bool((x == 0).any()) for x in seen)


def test_ada_is_refused_where_signs_say_nothing() -> None:
    with pytest.raises(SettingsError, match="watches the sign"):
        small("cyclegan", augment="ada")
    assert small("cyclegan", augment={"name": "ada", "p": 0.3}).state(SPEC) == {}
    with pytest.raises(SettingsError, match="watches the sign"):
        small("lapgan", augment="ada", loss="least_squares")
