"""The correspondence of Pfau & Vinyals 2016: where the critic is the reward, the actor's gradient is the GAN's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from games import IMAGES, train
from torch import Tensor, nn

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, State, Turn, draw_latents


class Reward(nn.Module):
    """Q = r, the reward itself."""

    def __init__(self, discriminator: nn.Module, logarithm: bool) -> None:
        super().__init__()
        self.discriminator, self.logarithm = discriminator, logarithm

    def forward(self, x: Tensor) -> Tensor:
        logits = self.discriminator(x)
        return F.logsigmoid(logits) if self.logarithm else logits


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def family(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "actor_critic", "preset": "smoke", "target_decay": 0.0, **keys})


def turn_of(made: AnyFamily, networks: Any, phase: str = "generator") -> Turn:
    noise = draw_latents(made.latents, 6, randomness.generator(0, phase))
    return Turn(networks, {"x": torch.rand(6, *IMAGES.shape) * 2 - 1}, noise, State(seed=0), 0, phase)


@pytest.mark.parametrize(("reward", "loss"), [("log_probability", "non_saturating"), ("logit", "wasserstein")])
def test_with_the_reward_as_critic_the_actor_s_gradient_is_the_generator_s(reward: str, loss: str) -> None:
    made = family(reward=reward)
    networks = made.build(IMAGES)
    discriminator = networks["discriminator"]
    networks["critic"] = Reward(discriminator, reward == "log_probability")
    turn = turn_of(made, networks)
    (actor,) = (phase for phase in made.phases() if phase.name == "generator")
    parameters = list(networks["generator"].parameters())
    mine = torch.autograd.grad(actor.objective(turn)["total"], parameters)
    fake = discriminator(networks["generator"](turn.latents["z"]))
    theirs = torch.autograd.grad(plugins.load("losses", {"name": loss}).generator(None, fake), parameters)
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-8, rtol=1e-5)


def test_the_critic_regresses_the_reward_of_samples_and_says_how_well() -> None:
    made = family()
    networks = made.build(IMAGES)
    turn = turn_of(made, networks, "critic")
    (phase,) = (each for each in made.phases() if each.name == "critic")
    parts = phase.objective(turn)
    with torch.no_grad():
        x = networks["generator"](turn.latents["z"])
        wanted, found = F.logsigmoid(networks["discriminator"](x)), networks["critic"](x)
    assert torch.allclose(parts["total"], F.mse_loss(found, wanted))
    assert torch.allclose(parts["fit"], 1 - F.mse_loss(found, wanted) / wanted.var(unbiased=False), rtol=1e-4)


def test_off_policy_the_critic_learns_from_images_between_samples_and_reals_too() -> None:
    made = family(off_policy=True)
    networks = made.build(IMAGES)
    seen: list[Tensor] = []
    networks["critic"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    turn = turn_of(made, networks, "critic")
    (phase,) = (each for each in made.phases() if each.name == "critic")
    parts = phase.objective(turn)
    (x,) = seen
    with torch.no_grad():
        samples, wanted, found = (
            networks["generator"](turn.latents["z"]),
            F.logsigmoid(networks["discriminator"](x)),
            networks["critic"](x),
        )
    real, n = turn.batch["x"], len(samples)
    assert torch.equal(x[:n], samples)
    share = (x[n:] - samples).flatten(1).norm(dim=1) / (real - samples).flatten(1).norm(dim=1)
    assert torch.allclose(samples + share[:, None, None, None] * (real - samples), x[n:], atol=1e-5)
    assert 0 <= share.min() < share.max() <= 1
    assert torch.allclose(parts["total"], F.mse_loss(found, wanted))
    own = F.mse_loss(found[:n], wanted[:n]) / wanted[:n].var(unbiased=False)
    assert torch.allclose(parts["fit"], 1 - own, rtol=1e-4)


def test_the_target_follows_slowly(tmp_path: Path) -> None:
    made = family(target_decay=0.75)
    networks = made.build(IMAGES)
    assert all(
        torch.equal(one, other)
        for one, other in zip(networks["target"].parameters(), networks["discriminator"].parameters(), strict=True)
    )
    with torch.no_grad():
        networks["discriminator"].output.bias.add_(4.0)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]  # a module's parameter
    before = networks["target"].output.bias.clone()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]  # a module's parameter
    made.after_step(networks, State(seed=0, tensors=made.state(IMAGES)), {"critic/fit": 0.25})
    assert torch.allclose(networks["target"].output.bias, before + 1.0)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]  # a module's parameter


def test_the_actor_waits_for_a_critic_that_fits(tmp_path: Path) -> None:
    waiting = family(least_fit=0.999)
    outcome = train(waiting, IMAGES, tmp_path / "waiting", examples=64)
    assert float(outcome.state.tensors["fit"]) < 0.999
    (actor,) = (phase for phase in waiting.phases() if phase.name == "generator")
    assert actor.when is not None
    assert not actor.when(outcome.state)
    assert actor.when(State(seed=0, tensors=waiting.state(IMAGES)))
