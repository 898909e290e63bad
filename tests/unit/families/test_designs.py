from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, Networks, Phase, Ramp, State, Turn
from pipeline.contract import scheduled_value as value
from pipeline.errors import SettingsError
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (1, 16, 16), ("a", "b", "c"))
SOURCE = torch.Generator().manual_seed(0)
REAL = torch.rand((6, 1, 16, 16), generator=SOURCE) * 2 - 1


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def load(name: str, **keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": name, **keys})


def phase_of(family: AnyFamily, name: str) -> Phase:
    (found,) = (phase for phase in family.phases() if phase.name == name)
    return found


def turn(
    family: AnyFamily, networks: Networks, phase: str, memory: dict[str, Any] | None = None, seen: int = 0
) -> dict[str, Tensor]:
    (latent,) = family.latents
    batch: Batch = {"x": REAL, "label": torch.arange(6) % 3}
    state = State(seed=0, examples_seen=seen)
    noise = {latent.name: latent.draw(6, torch.Generator().manual_seed(4))}
    return phase_of(family, phase).objective(
        Turn(networks, batch, noise, state, 0, phase, memory={} if memory is None else memory)
    )


# --- dcgan ------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"generator_width": 4, "discriminator_width": 4, "latent": 8}


def test_dcgan_shares_its_fakes_and_its_graph() -> None:
    family = load("dcgan", **SMALL)
    networks = family.build(SPEC)
    memory: dict[str, Any] = {}
    turn(family, networks, "discriminator", memory)
    fake = memory["fake"]
    assert fake.requires_grad
    turn(family, networks, "generator", memory)
    assert memory["fake"] is fake
    assert {phase.latents for phase in family.phases()} == {"z"}


def test_dcgan_with_fakes_of_its_own_keeps_nothing() -> None:
    family = load("dcgan", share_fakes=False, **SMALL)
    memory: dict[str, Any] = {}
    turn(family, family.build(SPEC), "discriminator", memory)
    assert memory == {}
    assert {phase.latents for phase in family.phases()} == {""}


def test_dcgan_loss_is_the_sum_of_both_cross_entropies_on_separate_batches() -> None:
    family = load("dcgan", **SMALL)
    networks = family.build(SPEC)
    memory: dict[str, Any] = {}
    total = turn(family, networks, "discriminator", memory)["total"]
    discriminator = networks["discriminator"]
    on_real, on_fake = discriminator(REAL), discriminator(memory["fake"])
    wanted = F.binary_cross_entropy_with_logits(on_real, torch.ones(6))
    wanted = wanted + F.binary_cross_entropy_with_logits(on_fake, torch.zeros(6))
    torch.testing.assert_close(total, wanted)
    together = discriminator(torch.cat([REAL, memory["fake"]]))[:6]
    assert not torch.allclose(together, on_real), "batch norm sees reals and fakes apart"


def test_dcgan_lazy_penalty_is_a_phase_with_its_gain() -> None:
    family = load("dcgan", preset="digits")
    penalty = phase_of(family, "penalty")
    assert (penalty.every, penalty.gain, penalty.batch) == (4, 4, "same")
    assert [phase.name for phase in family.phases()] == ["discriminator", "penalty", "generator"]
    lr = family.config.discriminator.lr
    assert family.players()[0].optimiser.lr == pytest.approx(0.8 * lr)
    assert family.players()[1].optimiser == family.config.generator


def test_dcgan_penalty_at_every_step_joins_the_loss() -> None:
    family = load("dcgan", penalties={"name": "r1", "gamma": 5.0}, **SMALL)
    parts = turn(family, family.build(SPEC), "discriminator")
    torch.testing.assert_close(parts["total"], parts["loss"] + parts["penalty"])
    assert parts["penalty"] > 0
    assert len(family.phases()) == 2


@pytest.mark.parametrize("loss", plugins.names("losses"))
def test_dcgan_plays_every_loss(loss: str) -> None:
    family = load("dcgan", loss=loss, **SMALL)
    networks = family.build(SPEC)
    for phase in ("discriminator", "generator"):
        assert torch.isfinite(turn(family, networks, phase)["total"])


def test_dcgan_labels_by_norm() -> None:
    family = load("dcgan", conditional=True, label_in_generator="norm", **SMALL)
    networks = family.build(SPEC)
    names = [name for name, _ in networks["generator"].named_parameters()]
    assert any(name.endswith("gain") for name in names)
    assert not any("embedding" in name for name in names)


def test_dcgan_starts_as_the_reference() -> None:
    networks = load("dcgan").build(DataSpec("image", (3, 64, 64)))
    for network in networks.values():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.weight.numel() > 50_000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.02)


# --- r3gan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditional", [False, True])
def test_r3gan_r1_equals_r2_at_initialisation(conditional: bool) -> None:
    """D is linear in x at first (for each label, which fakes share with their reals)."""
    family = load("r3gan", preset="small", conditional=conditional)
    parts = turn(family, family.build(SPEC), "discriminator")
    assert parts["r1"] > 0
    torch.testing.assert_close(parts["r1"], parts["r2"], rtol=1e-5, atol=0)


def test_r3gan_weighs_both_penalties_by_a_ramp() -> None:
    gamma = {"start": 2.0, "end": 0.5, "examples": 100, "shape": "cosine"}
    family = load("r3gan", preset="small", penalties={name: {"gamma": gamma} for name in ("r1", "r2")})
    networks = family.build(SPEC)
    weights: list[tuple[float, Tensor]] = []
    for seen, wanted in ((0, 2.0), (50, 1.25), (200, 0.5)):
        parts = turn(family, networks, "discriminator", seen=seen)
        torch.testing.assert_close(parts["total"], parts["loss"] + parts["r1"] + parts["r2"])
        weights.append((wanted, parts["r1"] / wanted))
    for _, found in weights:
        torch.testing.assert_close(found, weights[0][1])


def test_r3gan_penalties_are_the_rooms() -> None:
    family = load("r3gan", preset="small")
    networks = family.build(SPEC)
    parts = turn(family, networks, "discriminator")
    r1 = plugins.load("penalties", {"name": "r1", "gamma": 0.5})
    torch.testing.assert_close(parts["r1"], r1(networks["discriminator"], REAL, REAL, torch.Generator()))


def test_r3gan_reads_fresh_reals_for_each_player() -> None:
    assert [(phase.batch, phase.latents) for phase in load("r3gan").phases()] == [("fresh", ""), ("fresh", "")]


def test_r3gan_is_bounded_on_request() -> None:
    """The tanh of what the paper's own would give."""
    spec = DataSpec("image", (1, 16, 16))
    free, bounded = (load("r3gan", preset="small", bounded=each, last_gain=1.0) for each in (False, True))
    noise = 9 * torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    made: list[torch.Tensor] = []
    for family in (free, bounded):
        torch.manual_seed(0)
        made.append(family.build(spec)["generator"](noise))
    assert made[0].abs().max() > 1.5
    assert torch.equal(made[1], made[0].tanh())


def test_r3gan_schedules_last_the_references_number_of_steps() -> None:
    config = load("r3gan", preset="cifar10").config
    # 20 million images at 512 a step are 39,062.5 steps; each reads 1,024 of ours.
    assert config.generator.lr.examples / 1024 == pytest.approx(20_000_000 / 512)
    assert value(Ramp.model_validate(config.penalties[0]["gamma"]), 40_000_000) == pytest.approx(0.005)
    assert value(config.generator.beta2, 0) == pytest.approx(0.9)
    imagenet = load("r3gan", preset="imagenet64").config
    assert isinstance(imagenet.generator.lr, Ramp)
    assert imagenet.generator.lr.examples == 400_000_000


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"widths": [8, 8]}, "one number a stage"),
        ({"widths": [8], "blocks": [1], "groups": [3]}, "3 do not divide the inner width 8·2"),
        ({"widths": [8], "blocks": [0], "groups": [2]}, "1 or above"),
    ],
)
def test_r3gan_refuses_stages_that_do_not_fit(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load("r3gan", **keys)


def test_r3gan_names_the_stages_that_would_reach() -> None:
    with pytest.raises(SettingsError, match=r"families\.r3gan.widths: 4 stages need sides that are multiples of 8"):
        load("r3gan").check(DataSpec("image", (4, 68, 56)))


# --- wgan_gp ----------------------------------------------------------------------------------


def test_wgan_gp_plays_n_critic_fresh_turns() -> None:
    critic, generator = load("wgan_gp", discriminator_steps=7).phases()
    assert (critic.repeats, critic.batch, critic.latents) == (7, "fresh", "")
    assert (generator.repeats, generator.batch) == (1, "same")


def test_wgan_gp_total_adds_up_with_a_class_head() -> None:
    family = load("wgan_gp", preset="small", conditional=True, class_weight=2.0, generator_class_weight=0.25)
    networks = family.build(SPEC)
    parts = turn(family, networks, "discriminator")
    torch.testing.assert_close(parts["total"], parts["loss"] + parts["penalty"] + 2 * parts["class"])
    torch.testing.assert_close(parts["loss"], parts["fake"] - parts["real"])
    parts = turn(family, networks, "generator")
    torch.testing.assert_close(parts["total"], -parts["fake"] + 0.25 * parts["class"])
    assert parts["class"].item() == pytest.approx(math.log(3), rel=0.5)


def test_wgan_gp_sigmoid_output_is_carried_to_the_contracts_range() -> None:
    family = load("wgan_gp", preset="mnist_strided", generator_widths=[8, 4, 2], discriminator_widths=[2, 4, 8])
    networks = family.build(DataSpec("image", (1, 28, 28)))
    noise = torch.randn(2, 128)
    inner = networks["generator"].stack(noise)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(family.sample(networks, {"z": noise}, {}), 2 * torch.sigmoid(inner) - 1)


def test_wgan_gp_strided_takes_any_rectangle_and_residual_says_what_it_needs() -> None:
    odd = DataSpec("image", (3, 67, 45))
    strided = load("wgan_gp", architecture="strided", generator_widths=[4, 4], discriminator_widths=[4, 4])
    strided.check(odd)
    with pytest.raises(SettingsError, match="generator_widths: 4 stages need sides that are multiples of 8"):
        load("wgan_gp").check(odd)


def test_wgan_gp_optimisers() -> None:
    optimiser = load("wgan_gp").config.discriminator
    assert (optimiser.beta1, optimiser.beta2) == (0, 0.9)
    assert value(optimiser.lr, 16_000_000) == pytest.approx(1e-4)
    assert load("wgan_gp", discriminator={"lr": 1e-3}).config.discriminator.beta2 == 0.9, (
        "an override keeps the other values"
    )


# --- gan --------------------------------------------------------------------------------------


def test_gan_moves_both_players_at_once_on_one_set_of_fakes() -> None:
    first, second = load("gan").phases()
    assert (first.apply, second.apply) == ("end", "end")
    assert (second.batch, first.latents, second.latents) == ("same", "z", "z")


def test_gan_learning_rate_falls_as_in_the_paper() -> None:
    optimiser = load("gan").config.generator
    for updates in (0, 1000, 125_000):
        assert value(optimiser.lr, 100 * updates) == pytest.approx(0.1 / 1.000004**updates, rel=1e-6)
    assert value(optimiser.lr, 10**9) == pytest.approx(1e-6)
    assert value(optimiser.momentum, 12_500_000) == pytest.approx(0.7)


def test_gan_noise_has_variance_one_and_output_starts_at_its_bias() -> None:
    family = load("gan", output_bias=-1.0, generator_init=1e-9)
    networks = family.build(SPEC)
    x = family.sample(networks, {"z": torch.rand(2, 100) * 2 - 1}, {})
    torch.testing.assert_close(x, torch.full_like(x, 2 / (1 + math.e) - 1), atol=1e-5, rtol=0)
    assert networks["generator"].scale ** 2 / 3 == pytest.approx(1)  # pyright: ignore[reportOperatorIssue]


def test_gan_half_losses_and_dropout_from_the_turn() -> None:
    family = load("gan", preset="small", discriminator_init=1e-9)
    networks = family.build(SPEC)
    assert turn(family, networks, "discriminator")["total"].item() == pytest.approx(math.log(2), rel=1e-4)
    lively = load("gan", preset="small")
    networks = lively.build(SPEC)
    one, two = (turn(lively, networks, "discriminator")["total"] for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, turn(lively, networks, "discriminator", seen=64)["total"])
