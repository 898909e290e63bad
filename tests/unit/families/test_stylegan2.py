from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, Phase, State, Turn, draw_latents
from pipeline.errors import SettingsError, UserError
from pipeline.networks.blocks.mapping import StyleGenerator
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (3, 16, 16), ("a", "b"))
SMALL: dict[str, Any] = {"latent": 6, "style": 5, "mapping_layers": 2, "width": 64, "max_width": 6}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def load(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "stylegan2", **SMALL, **keys})


def phase_of(family: AnyFamily, name: str) -> Phase:
    (found,) = (each for each in family.phases() if each.name == name)
    return found


def turn(family: AnyFamily, networks: dict[str, nn.Module], phase: str, count: int = 4) -> Turn:
    source = torch.Generator().manual_seed(0)
    batch: Batch = {"x": torch.rand((count, 3, 16, 16), generator=source) * 2 - 1, "label": torch.arange(count) % 2}
    latents = draw_latents(family.latents, count, source)
    return Turn(networks, batch, latents, State(0, tensors=family.state(SPEC)), 0, phase)


def generator_of(networks: dict[str, nn.Module]) -> StyleGenerator:
    found = networks["generator"]
    assert isinstance(found, StyleGenerator)
    return found


# --- phases -----------------------------------------------------------------------------------


def test_phases_stand_in_the_references_order_with_their_gains() -> None:
    phases = [(each.name, each.player, each.batch, each.every, each.gain) for each in load().phases()]
    assert phases == [
        ("generator", "generator", "fresh", 1, 1.0),
        ("path_length", "generator", "same", 4, 4),
        ("discriminator", "discriminator", "same", 1, 1.0),
        ("penalty", "discriminator", "same", 16, 16),
    ]


def test_adam_is_corrected_for_each_players_own_lazy_phase() -> None:
    generator, discriminator = load().players()
    assert generator.optimiser.lr == pytest.approx(2e-3 * 0.8)
    assert generator.optimiser.beta2 == pytest.approx(0.99**0.8)
    assert discriminator.optimiser.lr == pytest.approx(2e-3 * 16 / 17)
    assert discriminator.optimiser.beta2 == pytest.approx(0.99 ** (16 / 17))


def test_cifar_has_no_path_length_and_no_correction_for_it() -> None:
    family: AnyFamily = plugins.load("families", {"name": "stylegan2", "preset": "cifar10"})
    assert [each.name for each in family.phases()] == ["generator", "discriminator", "penalty"]
    assert family.players()[0].optimiser.lr == 2.5e-3
    assert "path_length_mean" not in family.state(SPEC)
    assert family.state(SPEC)["augment_p"].item() == 0


def test_a_penalty_at_every_step_joins_the_loss() -> None:
    family = load(penalties={"name": "r1", "gamma": 3.0, "every": 1})
    networks = family.build(SPEC)
    parts = phase_of(family, "discriminator").objective(turn(family, networks, "discriminator"))
    torch.testing.assert_close(parts["total"], parts["loss"] + parts["penalty"])
    assert parts["penalty"] > 0
    assert [each.name for each in family.phases()] == ["generator", "path_length", "discriminator"]
    assert family.players()[1].optimiser.lr == 2e-3


# --- path length ------------------------------------------------------------------------------


def test_the_mean_length_moves_once_a_step_by_the_batchs_mean() -> None:
    family = load(path_decay=0.25)
    networks, state = family.build(SPEC), State(0, tensors=family.state(SPEC))
    family.after_step(networks, state, {"path_length/length": 8.0})
    assert state.tensors["path_length_mean"].item() == 2.0
    family.after_step(networks, state, {"generator/loss": 1.0})
    assert state.tensors["path_length_mean"].item() == 2.0


def test_path_length_takes_a_share_of_the_lane_and_leaves_the_state_alone() -> None:
    family = load(path_weight=3.0, mixing=0.0)
    networks = family.build(SPEC)
    own = turn(family, networks, "path_length")
    parts = phase_of(family, "path_length").objective(own)
    torch.testing.assert_close(parts["total"], 3 * parts["penalty"])
    assert own.state.tensors["path_length_mean"].item() == 0
    own.latents["z"][2:] += 1  # the second half of the lane
    torch.testing.assert_close(phase_of(family, "path_length").objective(own)["length"], parts["length"])


# --- styles -----------------------------------------------------------------------------------


def test_mixing_puts_another_style_behind_a_cut() -> None:
    always, never = load(mixing=1.0), load(mixing=0.0)
    networks = always.build(SPEC)
    generator, seen = generator_of(networks), []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach())

    generator.synthesis.register_forward_pre_hook(watch)
    for family in (always, never):
        phase_of(family, "generator").objective(turn(family, networks, "generator"))
    mixed, plain = seen
    equal = (mixed == plain).all(2).all(0).tolist()
    cut = equal.index(False)
    assert 1 <= cut < 6
    assert equal == [True] * cut + [False] * (6 - cut)


def test_the_mean_of_w_follows_training_alone() -> None:
    family = load(mixing=1.0)
    networks = family.build(SPEC)
    generator = generator_of(networks)
    own = turn(family, networks, "generator")
    with torch.no_grad():
        wanted = 0.005 * generator.mapping(own.latents["z"]).mean(0)
    phase_of(family, "generator").objective(own)
    torch.testing.assert_close(generator.mean.w_avg, wanted)
    generator.eval()
    family.sample(networks, own.latents, {}, 0.5)
    torch.testing.assert_close(generator.mean.w_avg, wanted)


def test_noise_in_samples() -> None:
    z = {"z": torch.randn(2, 6)}
    pictures: dict[str, Tensor] = {}
    networks = load().build(SPEC)
    with torch.no_grad():
        for name, parameter in networks["generator"].named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
        for kind in ("const", "random", "none"):
            family = load(sample_noise=kind)
            pictures[kind] = family.sample(networks, z, {})
            assert torch.equal(pictures[kind], family.sample(networks, z, {})), "equal latents, equal images"
    assert not torch.equal(pictures["const"], pictures["none"])
    assert not torch.equal(pictures["const"], pictures["random"])


# --- augmentation and losses ------------------------------------------------------------------


def test_ada_watches_reals_and_moves_p() -> None:
    family = load(augment={"name": "ada", "interval": 1})
    networks = family.build(SPEC)
    own = turn(family, networks, "discriminator")
    parts = phase_of(family, "discriminator").objective(own)
    with torch.no_grad():
        torch.testing.assert_close(parts["sign"], networks["discriminator"](own.batch.get("x")).sign().mean())
    own.state.examples_seen = 500
    family.after_step(networks, own.state, {"discriminator/sign": 0.9})
    assert own.state.tensors["augment_p"].item() == pytest.approx(500 / 500_000)


def test_penalties_see_what_the_critic_is_shown() -> None:
    """At p = 1 reals and their augmented selves have other gradients; both penalties are finite."""
    plain, augmented = load(), load(augment={"name": "ada", "p": 1.0})
    networks = plain.build(SPEC)
    own = turn(plain, networks, "penalty")
    found = [phase_of(each, "penalty").objective(own)["penalty"] for each in (plain, augmented)]
    assert torch.isfinite(found[1])
    assert not torch.allclose(found[0], found[1])
    gradients = torch.autograd.grad(found[1], list(networks["discriminator"].parameters()), allow_unused=True)
    assert all(torch.isfinite(each).all() for each in gradients if each is not None)


@pytest.mark.parametrize("loss", ["minimax", "least_squares", "hinge", "relativistic", "wasserstein"])
@pytest.mark.parametrize("minibatch", ["none", "discrimination"])
def test_any_loss_plays(loss: str, minibatch: str) -> None:
    family = load(loss=loss, minibatch=minibatch, conditional=True, augment="diff_augment")
    networks = family.build(SPEC)
    for phase in family.phases():
        assert torch.isfinite(phase.objective(turn(family, networks, phase.name))["total"])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"loss": "wasserstein", "penalties": None}, "needs a bounded critic"),
        ({"loss": "least_squares", "augment": "ada"}, "watches the sign"),
        ({"augment": "adda"}, "did you mean 'ada'"),
        ({"mixing": 1.5}, "mixing"),
    ],
)
def test_unfit_combinations_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(**keys)


# --- procedures -------------------------------------------------------------------------------


@pytest.fixture(params=["stylegan", "stylegan2"])
def trained(request: pytest.FixtureRequest) -> tuple[AnyFamily, dict[str, nn.Module]]:
    keys = {"latent": 6, "style": 5, "mapping_layers": 2, "max_width": 6}
    family = plugins.load(
        "families", {"name": request.param, **keys, **({"levels": 2} if request.param == "stylegan" else {})}
    )
    networks = family.build(SPEC)
    for network in networks.values():
        network.eval()
    return family, networks


def test_style_mixing_swaps_a_range_of_layers(trained: tuple[AnyFamily, dict[str, nn.Module]]) -> None:
    family, networks = trained
    mix = family.procedures()["style_mixing"]
    coarse, fine = torch.randn(2, 6), torch.randn(3, 6)
    whole = mix(networks, coarse, fine, layers=(0, 6))
    assert whole.shape == (2, 3, 3, 16, 16)
    wanted = family.sample(networks, {"z": fine}, {})
    torch.testing.assert_close(whole[0], wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole[1], whole[0], rtol=1e-4, atol=1e-4)
    some = mix(networks, coarse, fine, layers=(4, 6))
    assert not torch.allclose(some[0], some[1])
    with pytest.raises(UserError, match="6 layers"):
        mix(networks, coarse, fine, layers=(4, 7))


def test_a_truncation_sweep_runs_from_the_mean_to_the_sample(trained: tuple[AnyFamily, dict[str, nn.Module]]) -> None:
    family, networks = trained
    z = torch.randn(3, 6)
    swept = family.procedures()["truncation_sweep"](networks, z, values=(0.0, 0.5, 1.0))
    assert swept.shape == (3, 3, 3, 16, 16)
    torch.testing.assert_close(swept[0, 0], swept[0, 1])
    torch.testing.assert_close(swept[2], family.sample(networks, {"z": z}, {}))


def test_mapping_gives_one_w_for_each_layer(trained: tuple[AnyFamily, dict[str, nn.Module]]) -> None:
    family, networks = trained
    ws = family.procedures()["map"](networks, torch.randn(2, 6))
    assert ws.shape == (2, 6, 5)
    assert torch.equal(ws[:, 0], ws[:, 5])


def test_projection_finds_back_an_image_of_its_own(trained: tuple[AnyFamily, dict[str, nn.Module]]) -> None:
    family, networks = trained
    with torch.no_grad():
        x = family.sample(networks, {"z": torch.randn(2, 6)}, {})
    project = family.procedures()["project"]
    before, after = (project(networks, x, steps=steps, seed=1) for steps in (1, 60))
    assert after["images"].shape == x.shape
    assert after["ws"].shape == (2, 6, 5)
    assert after["error"].mean() < 0.6 * before["error"].mean()
    again = project(networks, x, steps=60, seed=1)
    assert torch.equal(again["ws"], after["ws"])
    torch.testing.assert_close(after["error"], (after["images"] - x).square().mean((1, 2, 3)))
