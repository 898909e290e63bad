from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, Ramp, State, Turn, draw_latents, scheduled_value
from pipeline.errors import SettingsError
from pipeline.families.adversarial_cryptography import bits_wrong, pact
from pipeline.types import Batch, DataSpec


class Constant(nn.Module):
    """The same answer for everything, of the shape that `shaped` gives it."""

    planes = False  # it reads images, as pix2pix asks its generator

    def __init__(self, value: float, shaped: Any = lambda x: x) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))
        self.shaped = shaped

    def forward(self, x: Tensor, *more: Any, **keys: Any) -> Tensor:
        return self.shaped(x) * 0 + self.value


def logits(x: Tensor) -> Tensor:
    return x[:, :1, ::8, ::8]


def turn_of(family: AnyFamily, networks: dict[str, nn.Module], batch: Batch, phase: str) -> Turn:
    spec = DataSpec("image", tuple(batch["x"].shape[1:])) if "x" in batch else DataSpec("rows", (16,))
    noise = draw_latents(family.latents, 4, randomness.generator(0, "x"))
    return Turn(networks, batch, noise, State(0), 0, phase, lane_state=family.lane_state(spec, 4))


# --- bits ---------------------------------------------------------------------------------------


def test_who_says_nothing_is_wrong_by_half() -> None:
    message = torch.tensor([[1.0, -1, 1, -1]])
    assert bits_wrong(message, torch.zeros(1, 4)).tolist() == [2]
    assert bits_wrong(message, message).tolist() == [0]
    assert bits_wrong(message, -message).tolist() == [4]


def test_the_pact_at_chance_and_at_its_ends() -> None:
    """Bob all right and Eve at chance: 0. All silent: ½. Eve all right, or all wrong: one more."""
    eight, none = torch.full((5,), 8.0), torch.zeros(5)
    assert pact(none, eight, 16).item() == 0
    assert pact(eight, eight, 16).item() == 0.5
    assert pact(none, none, 16).item() == 1
    assert pact(none, 2 * eight, 16).item() == 1


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_networks_that_say_nothing_score_as_a_guess(variant: str) -> None:
    family: AnyFamily = plugins.load("families", {"name": "adversarial_cryptography", "variant": variant})
    networks = family.build(DataSpec("rows", (16,), (), "float32"))
    for network in networks.values():
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
    parts = {
        phase.name: phase.objective(turn_of(family, networks, {}, phase.name)) for phase in family.segments()[0].phases
    }
    assert parts["alice_bob"]["total"].item() == 0.5
    assert parts["eve"]["total"].item() == 8
    noise = draw_latents(family.latents, 10, randomness.generator(1, "x"))
    means = {name: value.mean().item() for name, value in family.measure(networks, noise).items()}
    assert means == {"bob_bits_wrong": 8, "eve_bits_wrong": 8}
    assert family.conclude(means) == {"bits_lost": 8}
    assert family.conclude({"bob_bits_wrong": 0.25, "eve_bits_wrong": 7.0}) == {"bits_lost": 1.25}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_alice_and_bob_learn_to_talk_and_eve_stays_outside() -> None:
    """3,000 turns of 256 messages by hand: Bob loses less than two bits of 16, and Eve more than five."""
    torch.manual_seed(0)
    family: AnyFamily = plugins.load("families", {"name": "adversarial_cryptography", "preset": "smoke"})
    networks = family.build(DataSpec("rows", (16,), (), "float32"))
    players = {
        player.name: torch.optim.Adam([p for name in player.networks for p in networks[name].parameters()], lr=5e-3)
        for player in family.players()
    }
    for step in range(3000):
        for phase in family.segments()[0].phases:
            for repeat in range(phase.repeats if isinstance(phase.repeats, int) else 1):
                noise = draw_latents(family.latents, 256, randomness.generator(0, phase.name, step, repeat))
                optimiser = players[phase.player]
                optimiser.zero_grad()
                phase.objective(Turn(networks, {}, noise, State(0), 0, phase.name))["total"].backward()
                optimiser.step()
    found = family.measure(networks, draw_latents(family.latents, 2048, randomness.generator(9, "held")))
    assert found["bob_bits_wrong"].mean().item() < 2
    assert found["eve_bits_wrong"].mean().item() > 5


# --- translators --------------------------------------------------------------------------------


def test_cyclegan_s_objectives_are_the_sums_of_its_paper() -> None:
    family: AnyFamily = plugins.load("families", {"name": "cyclegan", "preset": "smoke"})
    networks: dict[str, nn.Module] = {
        "generator_forth": Constant(0.5),
        "generator_back": Constant(-0.25),
        "discriminator_forth": Constant(0.8, logits),
        "discriminator_back": Constant(0.3, logits),
    }
    x, other = torch.full((4, 1, 16, 16), 1.0), torch.full((4, 1, 16, 16), -1.0)
    turn = turn_of(family, networks, {"x": x, "unpaired": other}, "generators")
    parts = family.phases()[0].objective(turn)
    adversarial = (0.8 - 1) ** 2 + (0.3 - 1) ** 2
    cycles, identities = (1 - 0.5) + (1 - 0.25), (1 - 0.5) + (1 - 0.25)
    assert parts["total"].item() == pytest.approx(adversarial + 10 * cycles + 5 * identities, rel=1e-6)
    assert parts["cycle_forth"].item() == pytest.approx(0.5)
    turn.phase = "discriminators"
    parts = family.phases()[1].objective(turn)
    by_hand = ((0.8 - 1) ** 2 + 0.8**2 + (0.3 - 1) ** 2 + 0.3**2) / 2
    assert parts["total"].item() == pytest.approx(by_hand, rel=1e-6)
    assert turn.lane_state["forth_held"][:4].unique().tolist() == [0.5], "the pool holds the fakes of this step"


def test_the_discriminators_see_the_fakes_of_before_the_generators_step() -> None:
    family: AnyFamily = plugins.load("families", {"name": "cyclegan", "preset": "smoke"})
    spec = DataSpec("image", (1, 16, 16))
    networks = family.build(spec)
    batch: Batch = {"x": torch.rand(4, 1, 16, 16), "unpaired": torch.rand(4, 1, 16, 16)}
    turn = turn_of(family, networks, batch, "generators")
    family.phases()[0].objective(turn)
    made = networks["generator_forth"](batch["unpaired"])
    with torch.no_grad():
        for parameter in networks["generator_forth"].parameters():
            parameter.add_(0.1)
    turn.phase = "discriminators"
    family.phases()[1].objective(turn)
    assert torch.equal(turn.lane_state["forth_held"][:4], made)


def test_pix2pix_s_objectives_are_those_of_its_paper() -> None:
    family: AnyFamily = plugins.load("families", {"name": "pix2pix", "preset": "smoke"})
    seen: list[tuple[int, ...]] = []

    class Discriminator(Constant):
        def forward(self, x: Tensor, *more: Any, **keys: Any) -> Tensor:
            seen.append(tuple(x.shape))
            return super().forward(x)

    networks: dict[str, nn.Module] = {
        "generator": Constant(0.25, lambda a: a[:, :1].expand(-1, 3, -1, -1)),
        "discriminator": Discriminator(0.0, logits),
    }
    batch: Batch = {"x": torch.ones(4, 3, 16, 16), "pair": torch.zeros(4, 2, 16, 16)}
    turn = turn_of(family, networks, batch, "discriminator")
    parts = family.phases()[0].objective(turn)
    half = float(torch.log(torch.tensor(2.0)))
    assert parts["total"].item() == pytest.approx(half, rel=1e-6), "½(ln 2 + ln 2)"
    turn.phase = "generator"
    made = family.phases()[1].objective(turn)
    assert made["l1"].item() == pytest.approx(0.75)
    assert made["total"].item() == pytest.approx(half + 100 * 0.75, rel=1e-6)
    assert set(seen) == {(4, 5, 16, 16)}, "D sees the input and an image behind it"


def test_the_published_schedule_holds_and_then_falls() -> None:
    family: AnyFamily = plugins.load("families", {"name": "cyclegan", "preset": "horse2zebra256"})
    lr = family.players()[0].optimiser.lr
    epoch = 1_334
    found = [scheduled_value(lr, seen * epoch) for seen in (0, 50, 100, 150, 200, 300)]
    assert found == pytest.approx([2e-4, 2e-4, 2e-4, 1e-4, 0, 0])


def test_a_ramp_waits() -> None:
    ramp = Ramp(start=1.0, end=3.0, examples=10, after=5)
    assert [scheduled_value(ramp, seen) for seen in (0, 5, 10, 15, 99)] == [1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "pix2pix", "halvings": 3}, "dropped_blocks: 3 is not allowed; 3 halvings leave 1"),
        ({"name": "pix2pix", "penalties": "gradient_penalty"}, "ties the examples together; take r1"),
        ({"name": "cyclegan", "loss": "wasserstein"}, "needs a bounded critic"),
        ({"name": "wavegan", "penalties": None}, "needs a bounded critic"),
        ({"name": "wavegan", "kernel": 3}, "kernel: 3 is not allowed below stride: 4"),
        ({"name": "adversarial_cryptography", "bits": 7}, "bits"),
    ],
)
def test_unfit_settings_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        plugins.load("families", settings)


@pytest.mark.parametrize("loss", ["hinge", "relativistic", "minimax", "least_squares", "non_saturating"])
@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_other_losses_and_a_penalty_play_with_translators(name: str, loss: str) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke", "loss": loss, "penalties": "r1"})
    networks = family.build(DataSpec("image", (1, 16, 16)))
    batch: Batch = {key: torch.rand(4, 1, 16, 16) for key in ("x", "pair", "unpaired")}  # pyright: ignore
    turn = turn_of(family, networks, batch, "one")
    for phase in family.phases():
        assert torch.isfinite(phase.objective(turn)["total"])
