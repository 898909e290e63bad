"""The contract under strain: designs of two domains, of pairs, of sound and of bits keep it as image designs do."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import designs
import games
import pytest
import torch
from test_families import phases_of, play
from torch import nn
from worlds import on_processes

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, LocalWorld, MemoryReporter, World, draw_latents
from pipeline.errors import SettingsError, UserError
from pipeline.families.pix2pix import seeds
from pipeline.formats import checkpoint
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.training.loop import RunParts, fit
from pipeline.types import Batch, DataSpec, like_x

IMAGE = (3, 16, 24)
PAIRS = DataSpec("image", IMAGE, fields=like_x({"pair": (1, 16, 24)}))
DOMAINS = DataSpec("image", IMAGE, fields=like_x({"unpaired": IMAGE}))
SOUND = DataSpec("waveform", (1, 1024), dtype="float32", rate=8_000)
BITS = DataSpec("rows", (8,), dtype="float32")
OWN: dict[str, tuple[dict[str, Any], DataSpec]] = {
    "pix2pix": ({"preset": "smoke", "generator_width": 4, "discriminator_width": 4, "jitter": {}}, PAIRS),
    "cyclegan": ({"preset": "smoke", "generator_width": 4, "discriminator_width": 4, "pool": 3, "jitter": {}}, DOMAINS),
    "wavegan": ({"preset": "smoke", "width": 2, "levels": 3, "latent": 6}, SOUND),
    "adversarial_cryptography": ({"preset": "smoke", "bits": 8, "game": 64}, BITS),
}
"""Settings and data that tests below ask for; another design plays its preset `smoke` on what its file declares."""
CASES: dict[str, tuple[dict[str, Any], DataSpec]] = {
    name: OWN[name] if name in OWN else ({"preset": "smoke"}, designs.data_for(name, classes=()))
    for name in designs.NAMES
    if not designs.makes_images_alone(name)
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> tuple[str, AnyFamily, DataSpec]:
    keys, spec = CASES[request.param]
    return request.param, plugins.load("families", {"name": request.param, **keys}), spec


def condition_of(family: AnyFamily, spec: DataSpec, count: int) -> Batch:
    source = torch.Generator().manual_seed(2)
    fields = sorted((each for each in spec.fields if each.name in family.inputs), key=lambda each: each.name)
    found: Any = {each.name: games.random_field(each, count, source) for each in fields}
    return found


def test_players_phases_and_networks_name_each_other(case: tuple[str, AnyFamily, DataSpec]) -> None:
    _, family, spec = case
    networks = family.build(spec)
    players = {player.name: player for player in family.players()}
    owned = [network for player in players.values() for network in player.networks]
    assert len(owned) == len(set(owned)), "a network has one owner at most"
    frozen = [networks[name] for name in set(networks) - set(owned)]
    assert not any(each.requires_grad for network in frozen for each in network.parameters()), "a frozen one has none"
    assert set(family.averaged) <= set(networks)
    assert {phase.player for phase in phases_of(family)} == set(players)
    for segment in family.segments():
        assert len({phase.name for phase in segment.phases}) == len(segment.phases)
        assert segment.phases[0].batch != "same", "there is no phase before the first"


def test_the_designs_have_the_players_of_their_papers() -> None:
    found = {}
    for name, (keys, spec) in OWN.items():
        family: AnyFamily = plugins.load("families", {"name": name, **keys})
        found[name] = (len(family.build(spec)), len(family.players()))
    assert found == {"pix2pix": (2, 2), "cyclegan": (4, 2), "wavegan": (2, 2), "adversarial_cryptography": (3, 2)}


def test_each_phase_moves_all_of_its_player(case: tuple[str, AnyFamily, DataSpec]) -> None:
    _, family, spec = case
    networks = family.build(spec)
    played = play(family, networks, spec)
    moved = {phase: {key for key, each in gradients.items() if each.any()} for phase, gradients in played.items()}
    chapters = {phase.name: number for number, segment in enumerate(family.segments()) for phase in segment.phases}
    for phase, gradients in played.items():
        assert all(torch.isfinite(each).all() for each in gradients.values()), phase
        # A player may own what it moves in another chapter of a curriculum alone.
        elsewhere = {key for other in moved if chapters[other] != chapters[phase] for key in moved[other]}
        mine = gradients.keys() - (elsewhere - moved[phase])
        still = mine - moved[phase]
        # A bias does nothing before a norm, and where only a difference of scores counts.
        assert all(key.endswith("bias") for key in still), (phase, still)
        assert len(still) < len(mine) / 2


def test_no_objective_reaches_another_player(case: tuple[str, AnyFamily, DataSpec]) -> None:
    """The parts that play() differentiates belong to the phase's player alone, whatever graph is shared."""
    _, family, spec = case
    networks = family.build(spec)
    before = {key: value.clone() for key, value in flat(networks).items()}
    play(family, networks, spec)
    assert all(torch.equal(value, before[key]) for key, value in flat(networks).items()), "an objective changed weights"
    assert all(parameter.grad is None for network in networks.values() for parameter in network.parameters())


def flat(networks: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {f"{name}/{key}": value for name, net in networks.items() for key, value in net.named_parameters()}


def test_equal_turns_give_equal_gradients_and_leave_no_global_trace(case: tuple[str, AnyFamily, DataSpec]) -> None:
    _, family, spec = case
    torch.manual_seed(5)
    first = play(family, family.build(spec), spec)
    torch.manual_seed(5)
    networks = family.build(spec)
    torch.rand(7)
    before = torch.get_rng_state()
    second = play(family, networks, spec)
    assert torch.equal(before, torch.get_rng_state()), "an objective drew from the global generator"
    for phase, gradients in first.items():
        for key, gradient in gradients.items():
            assert torch.equal(gradient, second[phase][key]), (phase, key)


def test_samples_have_shape_range_and_repeat(case: tuple[str, AnyFamily, DataSpec]) -> None:
    _, family, spec = case
    networks = family.build(spec)
    for network in networks.values():
        network.eval()
    noise = draw_latents(family.latents_for(spec), 3, randomness.generator(1, "sample"))
    condition = condition_of(family, spec, 3)
    with torch.no_grad():
        first, second = (family.sample(networks, noise, condition) for _ in range(2))
        alone = family.sample(
            networks, {key: each[1:2] for key, each in noise.items()}, {k: v[1:2] for k, v in condition.items()}
        )
    assert first.shape == (3, *spec.shape)
    assert spec.columns or first.abs().max() <= 1
    assert torch.equal(first, second)
    assert torch.allclose(first[1:2], alone, atol=1e-5), "a sample depends on its company"
    assert (first[0] - first[1]).abs().max() > 1e-4


def test_translators_make_samples_of_their_inputs() -> None:
    for name in ("pix2pix", "cyclegan"):
        keys, spec = CASES[name]
        family: AnyFamily = plugins.load("families", {"name": name, **keys})
        assert family.inputs <= family.needs
        networks = family.build(spec)
        noise = draw_latents(family.latents_for(spec), 1, randomness.generator(1, "sample"))
        with pytest.raises(UserError, match="needs a batch with"):
            family.sample(networks, noise, {})


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_it_cannot_make_is_refused(name: str) -> None:
    keys, spec = CASES[name]
    family: AnyFamily = plugins.load("families", {"name": name, **keys})
    wrong = PAIRS if spec.modality == "waveform" else SOUND
    with pytest.raises(SettingsError, match=f"families.{name}"):
        family.build(wrong)


@pytest.mark.parametrize(
    ("name", "keys", "spec", "says"),
    [
        ("pix2pix", {}, DataSpec("image", (3, 12, 16)), r"multiples of 8, and the data is 12×16; resize"),
        ("cyclegan", {}, DataSpec("image", (3, 18, 16)), "multiples of 4"),
        (
            "cyclegan",
            {},
            DataSpec("image", (3, 16, 16), fields=like_x({"unpaired": (1, 16, 16)})),
            "identity: 0.5 compares the domains, and they have 1 and 3 channels",
        ),
        (
            "pix2pix",
            {},
            DataSpec("image", (3, 16, 16), fields=like_x({"pair": (3, 8, 8)})),
            "x is 16×16 and pair 8×8; set one ingest.resolution",
        ),
        ("wavegan", {}, DataSpec("waveform", (1, 1000), (), "float32"), r"1000 samples are no base·4\^3; take .*1024"),
        (
            "adversarial_cryptography",
            {},
            DataSpec("rows", (16,), (), "float32"),
            "bits: is 8, and the data has rows of 16",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_what_would(
    name: str, keys: dict[str, Any], spec: DataSpec, says: str
) -> None:
    family: AnyFamily = plugins.load("families", {"name": name, **CASES[name][0], **keys})
    with pytest.raises(SettingsError, match=says):
        family.check(spec)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_preset_builds_on_the_meta_device(name: str) -> None:
    for preset in designs.presets_of(name):
        family: AnyFamily = plugins.load("families", {"name": name, "preset": preset})
        spec = designs.fitting(name, preset)
        with torch.device("meta"):
            networks = family.build(spec)
            noise = {each.name: torch.empty(2, *each.shape) for each in family.latents_for(spec)}
            condition: Any = {each.name: torch.empty(2, *each.shape) for each in spec.fields}
            condition |= {"label": torch.zeros(2, dtype=torch.long)} if family.conditional else {}
            assert family.sample(networks, noise, condition).shape == (2, *spec.shape)


# --- the loop -----------------------------------------------------------------------------------


def train(family: AnyFamily, spec: DataSpec, folder: Path, world: World | None = None, **keys: Any) -> Any:
    """Eight steps of 16 examples in 4 lanes, a checkpoint after every second."""
    torch.set_num_threads(1)
    chosen = games.settings(**keys)
    return fit(
        RunParts(
            settings=chosen,
            family=family,
            spec=spec,
            batches=games.Data(spec) if family.needs else None,
            world=world or LocalWorld(),
            reporter=MemoryReporter(),
            store=CheckpointStore(folder, chosen.keep),
        )
    )


def digest(outcome: Any) -> str:
    found = hashlib.sha256()
    for _, network in sorted(outcome.networks.items()):
        for tensor in network.state_dict().values():
            found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def play_all(world: World, folder: Path) -> dict[str, Any]:
    """Every design on these ranks: the hashes of its last checkpoint, and of what it published."""
    found: dict[str, Any] = {}
    for name, (keys, spec) in CASES.items():
        family: AnyFamily = plugins.load("families", {"name": name, **keys})
        outcome = train(family, spec, folder / name, world, examples=96)
        found[name] = {"files": games.content(folder / name), "published": digest(outcome)}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_the_number_of_ranks_changes_no_byte(tmp_path: Path, size: int) -> None:
    """Networks, averages, optimisers, pools, state and history."""
    alone = play_all(LocalWorld(), tmp_path / "alone")
    assert all("state.safetensors" in found["files"] for found in alone.values())
    for rank in on_processes(size, play_all, tmp_path / "ranks"):
        assert rank == alone


def test_a_run_in_two_pieces_ends_as_one(case: tuple[str, AnyFamily, DataSpec], tmp_path: Path) -> None:
    name, family, spec = case
    whole = train(family, spec, tmp_path / "whole", examples=128)
    for examples in (64, 128):
        again: AnyFamily = plugins.load("families", {"name": name, **CASES[name][0]})
        pieces = train(again, spec, tmp_path / "pieces", examples=examples)
    assert digest(pieces) == digest(whole)
    assert games.content(tmp_path / "pieces") == games.content(tmp_path / "whole")


def test_pools_are_in_the_checkpoint(tmp_path: Path) -> None:
    keys, spec = CASES["cyclegan"]
    family: AnyFamily = plugins.load("families", {"name": "cyclegan", **keys})
    train(family, spec, tmp_path, examples=32)
    found = checkpoint.load(CheckpointStore(tmp_path).numbered()[-1]).tensors["state"]
    for side in ("forth", "back"):
        assert found[f"lanes/{side}_held"].shape == (4, 3, *IMAGE)
        assert found[f"lanes/{side}_held"].flatten(2).abs().sum(2).all(), "two steps of four examples fill three places"
        assert found[f"lanes/{side}_count"].tolist() == [3] * 4


def test_a_new_eve_begins_the_attack(tmp_path: Path) -> None:
    """After 64 messages Eve has fresh weights, and Alice and Bob no longer move."""
    keys, spec = CASES["adversarial_cryptography"]
    family: AnyFamily = plugins.load("families", {"name": "adversarial_cryptography", **keys})
    train(family, spec, tmp_path, examples=128)
    at = {int(path.name): checkpoint.load(path) for path in CheckpointStore(tmp_path).numbered()}
    before, after, last = (at[seen].tensors["networks"] for seen in (64, 96, 128))
    for name in before:
        still = torch.equal(before[name], after[name]) and torch.equal(after[name], last[name])
        assert still == (not name.startswith("eve")), name
    assert at[128].state["segment"] == 1


def test_every_sample_drops_by_a_seed_of_its_own() -> None:
    keys, _ = CASES["pix2pix"]
    family: AnyFamily = plugins.load("families", {"name": "pix2pix", **keys})
    bits = draw_latents(family.latents, 64, randomness.generator(0, "x"))["dropout"]
    assert len(set(seeds(bits).tolist())) == 64
    assert seeds(torch.tensor([[1.0, -1.0, 1.0, 1.0]])).tolist() == [1 + 4 + 8]
