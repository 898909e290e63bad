"""Settings that change on the way: the same bytes however the run is broken or shared out, and only what can change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from games import (
    GAMES,
    IMAGES,
    ROWS,
    Data,
    Interrupted,
    Killer,
    Scalars,
    content,
    dcgan,
    r3gan,
    settings,
    sgd,
    sick,
    slope,
    toy,
    wgan,
)
from worlds import on_processes

from pipeline.contract import AnyFamily, LocalWorld, MemoryReporter, Optimiser, Phase, Ramp, Reporter, World
from pipeline.errors import SettingsError
from pipeline.formats import checkpoint
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.training import schedules
from pipeline.training.loop import Outcome, RunParts, fit
from pipeline.types import DataSpec

STEP = 16  # examples


def play(
    family: AnyFamily,
    later: list[tuple[int, AnyFamily]],
    folder: Path,
    spec: DataSpec = ROWS,
    world: World | None = None,
    reporter: Reporter | None = None,
    **keys: Any,
) -> Outcome:
    torch.set_num_threads(1)
    chosen = settings(**keys)
    schedules.check(family, later, spec)
    store = CheckpointStore(folder, chosen.keep)
    world, reporter = world or LocalWorld(), reporter or MemoryReporter()
    return fit(RunParts(chosen, family, spec, Data(spec), world, reporter, store, later=later))


def alone(optimiser: Optimiser, objective: Any = slope) -> Scalars:
    """One player whose gradient is 1."""
    return Scalars({"a": optimiser}, (Phase("a", "a", objective("a")),))


def test_the_clock_says_whose_turn_it_is() -> None:
    first, second, third = alone(sgd(1)), alone(sgd(2)), alone(sgd(3))
    later = [(48, second), (64, third)]
    found = [schedules.family_at(first, later, seen) for seen in (0, 47, 48, 63, 64, 10**9)]
    assert found == [first, first, second, second, third, third]
    assert schedules.family_at(first, [], 100) is first


def last(folder: Path) -> float:
    """The number itself, not its average."""
    path = CheckpointStore(folder).numbered()[-1]
    return next(iter(checkpoint.load(path).tensors["networks"].values())).item()


def test_each_step_is_taken_at_its_own_rate(tmp_path: Path) -> None:
    """Steps begin at 0, 16, …, 112: three at 1, two at 1/2, three at 1/4."""
    play(alone(sgd(1)), [(48, alone(sgd(0.5))), (80, alone(sgd(0.25)))], tmp_path)
    assert last(tmp_path) == -(3 * 1 + 2 * 0.5 + 3 * 0.25)


def test_what_begins_between_two_steps_waits_for_the_next(tmp_path: Path) -> None:
    play(alone(sgd(1)), [(33, alone(sgd(0.5)))], tmp_path)
    assert last(tmp_path) == -(3 * 1 + 5 * 0.5)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_moments_are_kept_and_every_value_is_taken_up(name: Any, tmp_path: Path) -> None:
    """Against torch's own optimiser, whose group is changed by hand."""
    before = Optimiser(name=name, lr=1e-2, beta1=0.5, beta2=0.9, eps=1e-3, momentum=0.5, weight_decay=0.1)
    after = Optimiser(name=name, lr=3e-2, beta1=0.8, beta2=0.99, eps=1e-2, momentum=0.9, weight_decay=0.3)
    play(alone(before), [(64, alone(after))], tmp_path)
    weight = torch.nn.Parameter(torch.zeros(1, 1))
    shared: dict[str, Any] = {"lr": 1e-2, "weight_decay": 0.1}
    optimiser = {
        "adam": lambda: torch.optim.Adam([weight], betas=(0.5, 0.9), eps=1e-3, fused=True, **shared),
        "rmsprop": lambda: torch.optim.RMSprop([weight], eps=1e-3, momentum=0.5, **shared),
        "sgd": lambda: torch.optim.SGD([weight], momentum=0.5, **shared),
    }[name]()
    group = optimiser.param_groups[0]
    for step in range(8):
        if step == 4:
            group |= {"lr": 3e-2, "weight_decay": 0.3}
            group |= {"betas": (0.8, 0.99)} if name == "adam" else {"momentum": 0.9}
            group |= {"eps": 1e-2} if name != "sgd" else {}
        weight.grad = torch.ones(1, 1)
        optimiser.step()
    assert last(tmp_path) == weight.item()


def test_a_roll_back_goes_back_in_the_schedule_too(tmp_path: Path) -> None:
    """Not finite after 48, where the rate has halved: back to the checkpoint at 32, and one more step at the first."""

    def ill(name: str) -> Any:
        return sick(name, 48, healthy_from=1)

    family, other = alone(sgd(1), ill), alone(sgd(0.5), ill)
    reporter = MemoryReporter()
    play(family, [(48, other)], tmp_path, reporter=reporter)
    assert any("back to 32 examples, attempt 1" in note for note in reporter.notes)
    assert last(tmp_path) == -(3 * 1 + 5 * 0.5)


# --- the same bytes ---------------------------------------------------------------------------


def dcgan_changing() -> tuple[AnyFamily, list[tuple[int, AnyFamily]]]:
    """BatchNorm, shared fakes, a lazy R1 whose weight changes with the rates."""

    def tuned(rate: float, gamma: float) -> AnyFamily:
        players = {"generator": {"lr": rate, "beta1": 0.1}, "discriminator": {"lr": 2 * rate}}
        return dcgan(penalties={"r1": {"gamma": gamma, "every": 2}}, **players)

    return tuned(1e-3, 1.0), [(48, tuned(5e-4, 3.0)), (96, tuned(2e-3, 0.2))]


def toy_changing() -> tuple[AnyFamily, list[tuple[int, AnyFamily]]]:
    """A curriculum that turns at 64, in between two changes."""
    return toy(), [(48, toy(optimiser=Optimiser(lr=5e-3, beta1=0.0), clip=0.02)), (96, toy(clip=0.01))]


CHANGING = {"dcgan": dcgan_changing, "toy": toy_changing}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, make in CHANGING.items():
        found[name] = tmp_path_factory.mktemp(name)
        play(*make(), found[name], GAMES[name][1])
    return found


def test_it_does_change_the_weights(whole: dict[str, Path], tmp_path: Path) -> None:
    for name, make in CHANGING.items():
        family, later = make()
        play(family, [], tmp_path / "never" / name, GAMES[name][1])
        play(family, later[:1], tmp_path / "once" / name, GAMES[name][1])
        file = "networks.safetensors"
        for folder, equal_until in (("never", 32), ("once", 96)):
            for at in (32, 64, 96, 128):
                equal = content(tmp_path / folder / name, at)[file] == content(whole[name], at)[file]
                assert equal == (at <= equal_until), (name, folder, at)


@pytest.mark.parametrize("name", CHANGING)
def test_killed_before_every_checkpoint(name: str, whole: dict[str, Path], tmp_path: Path) -> None:
    for _ in range(4):
        for death in (1, 2):
            try:
                play(*CHANGING[name](), tmp_path, GAMES[name][1], reporter=Killer(death))
            except Interrupted:
                continue
    play(*CHANGING[name](), tmp_path, GAMES[name][1])
    assert content(tmp_path) == content(whole[name])


@pytest.mark.parametrize("name", CHANGING)
def test_a_longer_run_goes_on_with_the_last_settings(name: str, whole: dict[str, Path], tmp_path: Path) -> None:
    play(*CHANGING[name](), tmp_path, GAMES[name][1], examples=64)
    play(*CHANGING[name](), tmp_path, GAMES[name][1])
    assert content(tmp_path) == content(whole[name])


def play_shared(world: World, folder: Path) -> dict[str, Any]:
    for name, make in CHANGING.items():
        play(*make(), folder / name, GAMES[name][1], world=world)
    return {name: content(folder / name) for name in CHANGING}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_more_workers_change_no_byte(size: int, whole: dict[str, Path], tmp_path: Path) -> None:
    expected = {name: content(whole[name]) for name in CHANGING}
    assert on_processes(size, play_shared, tmp_path) == [expected] * size


def test_the_familys_own_rules_change_too(tmp_path: Path) -> None:
    """Toy clips a network's weights after each step."""
    family, later = toy_changing()
    play(family, later, tmp_path)
    for at, bound in ((32, 0.5), (64, 0.02), (128, 0.01)):
        tensors = checkpoint.load(CheckpointStore(tmp_path).path(at)).tensors["networks"]
        assert 0 < tensors["scout/weight"].abs().max().item() <= bound


# --- what can change --------------------------------------------------------------------------

SMOOTH = [
    (dcgan(), dcgan(generator={"lr": 1e-5, "beta1": 0.9, "eps": 1e-6, "weight_decay": 0.1})),
    (dcgan(), dcgan(penalties={"r1": {"gamma": 9.0, "every": 2}})),
    (dcgan(), dcgan(loss={"name": "hinge"})),
    (dcgan(), dcgan(discriminator={"lr": Ramp(start=1e-3, end=1e-4, examples=100)})),
    (r3gan(), r3gan(generator={"lr": 1e-5})),
    (toy(), toy(clip=0.1)),
]

ROUGH = [
    (dcgan(), dcgan(generator_width=8), r"the shape of generator\.\S+ would change from [\d ×]+ to [\d ×]+$"),
    (dcgan(), dcgan(latent=7), "the noise would change"),
    (dcgan(), dcgan(conditional=False), "what is read of the data would change"),
    (dcgan(), dcgan(penalties={"r1": {"every": 4}}), "`every` of the phase penalty would change from 2 to 4"),
    (dcgan(), dcgan(penalties={"r1": {"every": 1}}), r"the phases of the segment all would change"),
    (dcgan(), dcgan(share_fakes=False), "`latents` of the phase discriminator would change"),
    (dcgan(), dcgan(generator={"name": "sgd"}), "the optimiser of the player generator would change from 'adam' to"),
    (dcgan(), dcgan(generator_norm="none"), r"generator\.\S+ would"),
    (toy(), toy(warm_up=96), "the segment rebuild's length would change from 64 to 96"),
    (wgan(), wgan(clip=0.02), r"discriminator\.clip would change from 0\.03 to 0\.02"),
    (dcgan(), dcgan(augment={"name": "ada"}), "the state augment_p would come"),
]


def spec_of(family: AnyFamily) -> DataSpec:
    return ROWS if "toy" in type(family).__module__ else IMAGES


@pytest.mark.parametrize(("one", "other"), SMOOTH)
def test_numbers_that_a_step_reads_may_change(one: AnyFamily, other: AnyFamily) -> None:
    before = torch.random.get_rng_state()
    assert schedules.unlike(one, other, spec_of(one)) is None
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("one", "other", "why"), ROUGH)
def test_what_would_not_fit_is_named(one: AnyFamily, other: AnyFamily, why: str) -> None:
    found = schedules.unlike(one, other, spec_of(one))
    assert found is not None
    assert re.match(why, found), found
    assert len(found) < 200


def test_a_schedule_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"at 64 examples the noise would change .* cannot change that on its way"):
        schedules.check(dcgan(), [(64, dcgan(latent=7))], IMAGES)
    for starts in ((64, 32), (64, 64), (0, 32), (-1, 32)):
        with pytest.raises(SettingsError, match="must be above 0, and each beyond the last"):
            schedules.check(dcgan(), [(start, dcgan()) for start in starts], IMAGES)
    schedules.check(dcgan(), [(32, dcgan()), (64, dcgan())], IMAGES)
