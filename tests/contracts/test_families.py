"""Every file of the families room keeps the contract, whatever the Config."""

from __future__ import annotations

import math
from typing import Any

import designs
import games
import pytest
import torch
from torch import Tensor, nn

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, Phase, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.types import Batch, DataSpec

NAMES = [name for name in designs.NAMES if designs.makes_images_alone(name)]
"""Translators, sounds and bits keep the same contract on data of their own: test_families_beyond_images."""
LABELLED = [name for name in NAMES if designs.takes_labels(name)]
BOTH = [(name, conditional) for name in NAMES for conditional in (False, True) if name in LABELLED or not conditional]
"""Each design without labels, and with them if its networks can take any."""
DIGITS = DataSpec("image", (1, 16, 16), tuple("0123456789"))
SPRITES = DataSpec("image", (4, 68, 56), ("a", "b", "c"))
LANE = 4


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)


def every_preset() -> list[tuple[str, str | None]]:
    return [(name, preset) for name in NAMES for preset in (None, *designs.presets_of(name))]


def small(name: str, **keys: Any) -> AnyFamily:
    return designs.smoke(name, **{"conditional": False, **keys})


def make_batch(spec: DataSpec, label: bool) -> Batch:
    source = torch.Generator().manual_seed(1)
    batch: Batch = {"x": torch.rand((LANE, *spec.shape), generator=source) * 2 - 1}
    if label:
        batch["label"] = torch.arange(LANE) % len(spec.classes)
    fields: Any = {each.name: games.random_field(each, LANE, source) for each in spec.fields}
    return batch | fields


def play(family: AnyFamily, networks: dict[str, nn.Module], spec: DataSpec) -> dict[str, dict[str, Tensor]]:
    """Every phase once, on one lane of one step; phase → gradients by parameter."""
    state = State(seed=3, tensors=family.state(spec))
    batch = make_batch(spec, "label" in family.needs)
    memory: dict[str, Any] = {}
    found: dict[str, dict[str, Tensor]] = {}
    for phase in phases_of(family):
        noise = draw_latents(family.latents_for(spec), LANE, randomness.generator(0, phase.latents or phase.name))
        turn = Turn(
            networks,
            {} if phase.batch == "none" else batch,
            noise,
            state,
            0,
            phase.name,
            lane_state=family.lane_state(spec, LANE),
            memory=memory,
        )
        parts = phase.objective(turn)
        assert parts["total"].dim() == 0
        assert all(torch.isfinite(part).all() for part in parts.values()), parts
        owned = owned_by(family, networks, phase.player)
        gradients = torch.autograd.grad(parts["total"], list(owned.values()), allow_unused=True)
        found[phase.name] = {
            key: torch.zeros_like(owned[key]) if each is None else each
            for key, each in zip(owned, gradients, strict=True)
        }
    return found


def phases_of(family: AnyFamily) -> list[Phase]:
    return [phase for segment in family.segments() for phase in segment.phases]


def owned_by(family: AnyFamily, networks: dict[str, nn.Module], name: str) -> dict[str, nn.Parameter]:
    (player,) = (each for each in family.players() if each.name == name)
    return {f"{n}/{key}": value for n in player.networks for key, value in networks[n].named_parameters()}


def condition_of(family: AnyFamily, spec: DataSpec, count: int) -> Batch:
    return {"label": torch.arange(count) % len(spec.classes)} if family.conditional else {}


@pytest.mark.parametrize(("name", "preset"), every_preset())
def test_every_preset_builds_on_the_meta_device(name: str, preset: str | None) -> None:
    family: AnyFamily = plugins.load("families", {"name": name} | ({"preset": preset} if preset else {}))
    spec = designs.fitting(name, preset)
    with torch.device("meta"):
        networks = family.build(spec)
        assert all(tensor.is_meta for network in networks.values() for tensor in network.state_dict().values())
        count = 2
        noise = {each.name: torch.empty(count, *each.shape) for each in family.latents_for(spec)}
        label: Batch = {"label": torch.zeros(count, dtype=torch.long)} if family.conditional else {}
        samples = family.sample(networks, noise, label)
    assert samples.shape == (count, *spec.shape)


@pytest.mark.parametrize("name", NAMES)
def test_players_phases_and_networks_name_each_other(name: str) -> None:
    family = small(name)
    networks = family.build(DIGITS)
    players = {player.name: player for player in family.players()}
    owned = [network for player in players.values() for network in player.networks]
    assert len(owned) == len(set(owned)), "a network has one owner"
    assert set(owned) <= set(networks)
    assert set(family.averaged) <= set(networks)
    phases = phases_of(family)
    for segment in family.segments():
        assert len({phase.name for phase in segment.phases}) == len(segment.phases)
    assert {phase.player for phase in phases} == set(players)
    assert phases[0].batch != "same", "there is no phase before the first"


@pytest.mark.parametrize(("name", "conditional"), BOTH)
@pytest.mark.parametrize("spec", [DIGITS, SPRITES], ids=["16x16x1", "68x56x4"])
def test_each_phase_moves_its_player(name: str, conditional: bool, spec: DataSpec) -> None:
    family = small(name, conditional=conditional)
    assert family.conditional is conditional
    networks = family.build(spec)
    for phase, gradients in play(family, networks, spec).items():
        assert all(torch.isfinite(each).all() for each in gradients.values()), phase
        assert any(bool(each.any()) for each in gradients.values()), f"{phase} moves nothing"


@pytest.mark.parametrize("name", NAMES)
def test_equal_turns_give_equal_gradients_and_leave_no_global_trace(name: str) -> None:
    family = small(name, conditional=name in LABELLED)
    torch.manual_seed(1)
    first = play(family, family.build(DIGITS), DIGITS)
    torch.manual_seed(1)
    networks = family.build(DIGITS)
    torch.rand(7)
    before = torch.get_rng_state()
    second = play(family, networks, DIGITS)
    assert torch.equal(before, torch.get_rng_state()), "an objective drew from the global generator"
    for phase, gradients in first.items():
        for key, gradient in gradients.items():
            assert torch.equal(gradient, second[phase][key]), (phase, key)


@pytest.mark.parametrize(("name", "conditional"), BOTH)
def test_samples_have_shape_range_and_repeat(name: str, conditional: bool) -> None:
    family = small(name, conditional=conditional)
    networks = family.build(SPRITES)
    for network in networks.values():
        network.eval()
    noise = draw_latents(family.latents_for(SPRITES), 3, randomness.generator(1, "sample"))
    with torch.no_grad():
        first = family.sample(networks, noise, condition_of(family, SPRITES, 3))
        second = family.sample(networks, noise, condition_of(family, SPRITES, 3))
        still = family.sample(networks, noise, condition_of(family, SPRITES, 3), truncation=0.0)
    assert first.shape == (3, 4, 68, 56)
    assert first.min() >= -1
    assert first.max() <= 1
    assert torch.equal(first, second)
    if not conditional:
        assert torch.allclose(still[0], still[1], atol=1e-6), "without noise all samples are one"


@pytest.mark.parametrize("name", LABELLED)
def test_weights_of_classes_mix_them(name: str) -> None:
    """A float (n, classes) may stand for labels: a one-hot row is its class, and half of two is neither."""
    family = small(name, conditional=True)
    networks = family.build(DIGITS)
    with torch.no_grad():
        for network in networks.values():
            network.eval()
            for parameter in network.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)) * 0.1)
        noise = draw_latents(family.latents_for(DIGITS), 2, randomness.generator(1, "sample"))
        named = family.sample(networks, noise, {"label": torch.tensor([3, 8])})
        weights = torch.nn.functional.one_hot(torch.tensor([3, 8]), 10).float()
        assert torch.allclose(family.sample(networks, noise, {"label": weights}), named, atol=1e-6)
        between = family.sample(networks, noise, {"label": weights.mean(0, keepdim=True).expand(2, -1)})
    assert not torch.allclose(between, named)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_change_samples(name: str) -> None:
    family = small(name, conditional=True)
    networks = family.build(DIGITS)
    with torch.no_grad():
        for network in networks.values():
            network.eval()
            for parameter in network.parameters():  # gains per class start equal, zero layers as zero
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)) * 0.1)
        noise = draw_latents(family.latents_for(DIGITS), 1, randomness.generator(1, "sample"))
        pair = [family.sample(networks, noise, {"label": torch.tensor([k])}) for k in (0, 1)]
    assert not torch.equal(*pair)


@pytest.mark.parametrize(
    ("name", "keys", "spec", "says"),
    [
        *(
            (name, {"conditional": True}, DataSpec("image", (1, 16, 16)), "is true, and the data has no classes")
            for name in LABELLED
        ),
        *((name, {}, DataSpec("waveform", (1, 1024)), "the data is waveform") for name in NAMES),
        *((name, {}, DataSpec("rows", (12,)), "the data is rows") for name in NAMES),
    ],
)
def test_what_it_cannot_reach_is_refused(name: str, keys: dict[str, Any], spec: DataSpec, says: str) -> None:
    family = small(name, **keys)
    with pytest.raises(SettingsError, match=says):
        family.check(spec)
    with pytest.raises(SettingsError, match=says):
        family.build(spec)


@pytest.mark.parametrize("name", NAMES)
def test_learning_rates_start_above_zero(name: str) -> None:
    for player in small(name).players():
        lr = player.optimiser.lr
        start = lr if isinstance(lr, float) else lr.start
        assert start > 0
        assert math.isfinite(start)
