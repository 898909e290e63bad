"""LAPGAN: levels that add up, each looking at its own networks and the real coarse image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, Phase, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.networks.architectures.lapgan import BaseDiscriminator, LevelDiscriminator, LevelGenerator
from pipeline.networks.layers.resample import coarser, finer
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (1, 32, 32), ("a", "b", "c"))
SMALL: dict[str, Any] = {"preset": "smoke", "levels": 2, "width": 4}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def load(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "lapgan", **SMALL, **keys})


def batch_of(count: int) -> Batch:
    return {"x": torch.rand(count, 1, 32, 32) * 2 - 1, "label": torch.arange(count) % 3}


def turn_of(family: AnyFamily, networks: dict[str, nn.Module], phase: Phase, batch: Batch) -> Turn:
    noise = draw_latents(family.latents_for(SPEC), len(batch["x"]), torch.Generator().manual_seed(1))
    return Turn(networks, batch, noise, State(seed=0), 0, phase.name)


def phase_of(family: AnyFamily, name: str) -> Phase:
    (found,) = (phase for phase in family.phases() if phase.name == name)
    return found


def test_halving_is_a_mean_and_doubling_keeps_a_constant() -> None:
    x = torch.rand(2, 3, 8, 6)
    torch.testing.assert_close(coarser(x), F.avg_pool2d(x, 2))
    constant = torch.full((1, 1, 4, 4), 0.3)
    torch.testing.assert_close(finer(constant), torch.full((1, 1, 8, 8), 0.3))
    torch.testing.assert_close(coarser(finer(constant)), constant)


def test_levels_and_their_noise_follow_the_resolution() -> None:
    family = load()
    assert [(latent.name, latent.shape) for latent in family.latents_for(SPEC)] == [
        ("z", (32,)),
        ("noise_1", (1, 16, 16)),
        ("noise_2", (1, 32, 32)),
    ]
    assert family.averaged == ("generator_0", "generator_1", "generator_2")
    oblong = DataSpec("image", (1, 28, 56), ("a", "b"))
    assert [latent.shape for latent in load(levels=1).latents_for(oblong)[1:]] == [(1, 28, 56)]


def test_with_no_detail_a_sample_is_its_base_enlarged() -> None:
    family = load()
    networks = family.build(SPEC)
    for level in (1, 2):
        last = networks[f"generator_{level}"].convs[-1]  # pyright: ignore
        nn.init.zeros_(last.weight)  # pyright: ignore
        nn.init.zeros_(last.bias)  # pyright: ignore
    noise = draw_latents(family.latents_for(SPEC), 3, torch.Generator().manual_seed(0))
    label = torch.tensor([0, 1, 2])
    sample = family.sample(networks, noise, {"label": label})
    base = networks["generator_0"](noise["z"], label)
    torch.testing.assert_close(sample, finer(finer(base)).clamp(-1, 1))


def test_a_level_is_shown_the_real_coarse_image_with_its_own_detail() -> None:
    """With a G that adds nothing, D's fake is the real image blurred: counted from its logits."""
    family = load(keep=1.0)
    networks = family.build(SPEC)
    last = networks["generator_2"].convs[-1]  # pyright: ignore
    nn.init.zeros_(last.weight)  # pyright: ignore
    nn.init.zeros_(last.bias)  # pyright: ignore
    phase, batch = phase_of(family, "discriminator_2"), batch_of(4)
    parts = phase.objective(turn_of(family, networks, phase, batch))
    discriminator = networks["discriminator_2"]
    on_real = discriminator(batch["x"], batch["label"])
    on_fake = discriminator(finer(coarser(batch["x"])), batch["label"])
    wanted = 0.5 * (F.softplus(-on_real).mean() + F.softplus(on_fake).mean())
    torch.testing.assert_close(parts["total"], wanted)


@pytest.mark.parametrize("name", ["generator_0", "discriminator_1", "generator_2"])
def test_levels_do_not_touch_each_other(name: str) -> None:
    family = load()
    networks = family.build(SPEC)
    phase = phase_of(family, name)
    phase.objective(turn_of(family, networks, phase, batch_of(4)))["total"].backward()
    moved = {key for key, network in networks.items() for p in network.parameters() if p.grad is not None}
    level = name.rpartition("_")[2]
    assert name in moved
    assert moved <= {f"generator_{level}", f"discriminator_{level}"}


def test_the_players_take_turns_by_side() -> None:
    phases = load().phases()
    assert [(phase.name, phase.batch) for phase in phases] == [
        ("discriminator_0", "fresh"),
        ("discriminator_1", "same"),
        ("discriminator_2", "same"),
        ("generator_0", "fresh"),
        ("generator_1", "same"),
        ("generator_2", "same"),
    ]
    assert {phase.latents for phase in phases} == {"discriminator", "generator"}


def test_shapes_of_a_level() -> None:
    generator = LevelGenerator(3, 4, (14, 28), 0)
    detail: Tensor = generator(torch.zeros(2, 3, 14, 28), torch.zeros(2, 1, 14, 28))
    assert detail.shape == (2, 3, 14, 28)
    assert LevelDiscriminator(3, 4, (14, 28), 0, 0.5)(torch.zeros(2, 3, 14, 28)).shape == (2,)


def test_a_level_reads_noise_then_class_then_image() -> None:
    """By what moves the first convolution when one of its input maps alone has weight."""
    generator = LevelGenerator(2, 1, (4, 4), 3)
    first = generator.convs[0]
    assert isinstance(first, nn.Conv2d)
    seen: list[Tensor] = []
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    coarse, noise, label = torch.rand(1, 2, 4, 4) + 2, torch.rand(1, 1, 4, 4) - 2, torch.tensor([1])
    generator(coarse, noise, label)
    assert generator.plane is not None
    assert torch.equal(seen[0], torch.cat([noise, generator.plane(label), coarse], dim=1))


def test_the_base_drops_behind_each_hidden_layer() -> None:
    """With weights of 1 and half kept, every unit that is left is doubled: counted by two masks in order."""
    discriminator = BaseDiscriminator(4, (6, 5), 0, 0.5)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.fill_(1.0) if parameter.dim() > 1 else parameter.zero_()
    source, twin = (torch.Generator().manual_seed(2) for _ in range(2))
    kept = [int((torch.rand((1, units), generator=twin) < 0.5).sum()) for units in (6, 5)]
    assert 0 < kept[0] < 6
    found = discriminator(torch.ones(1, 1, 2, 2), generator=source)
    assert found.item() == 4 * (2 * kept[0]) * (2 * kept[1])
    assert torch.equal(source.get_state(), twin.get_state())
    assert discriminator(torch.ones(1, 1, 2, 2)).item() == 4 * 6 * 5


def test_data_of_another_size_are_told_what_to_set() -> None:
    with pytest.raises(SettingsError, match=r"levels: the first level has a side of 8, .* set levels to 1 or below"):
        load().check(DataSpec("image", (1, 16, 16), ("a", "b")))
    with pytest.raises(SettingsError, match=r"families\.lapgan"):
        load().check(DataSpec("image", (1, 18, 18), ("a", "b")))
