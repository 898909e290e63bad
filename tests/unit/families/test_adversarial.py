"""What every design of two players can do: several penalties, lazy or not, shared fakes, augmentation, one text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from turns import REAL, SPEC, load, make_turn, phase_of, play

from pipeline import plugins
from pipeline.contract import AnyFamily, Networks
from pipeline.errors import SettingsError
from pipeline.families._adversarial import AdversarialFamily
from pipeline.params.space import stand_in
from pipeline.settings import at, override

SMALL: dict[str, dict[str, Any]] = {
    "dcgan": {"generator_width": 4, "discriminator_width": 4, "latent": 8, "discriminator_norm": "none"},
    "gan": {"preset": "smoke"},
    "stylegan2": {"preset": "smoke"},
    "wgan_gp": {"preset": "small", "generator_widths": [4, 4], "discriminator_widths": [4, 4]},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(name: str, **keys: Any) -> AnyFamily:
    return load(name, **{**SMALL[name], **keys})


def passes(networks: Networks) -> list[Tensor]:
    found: list[Tensor] = []
    networks["discriminator"].register_forward_pre_hook(lambda _, given: found.append(given[0].detach()))
    return found


@pytest.mark.parametrize("name", sorted(SMALL))
def test_r1_and_r2_are_chosen_in_any_family(name: str) -> None:
    family = small(name, penalties=[{"name": "r1", "gamma": 1.0, "every": 1}, {"name": "r2", "gamma": 3.0, "every": 1}])
    parts = play(family, family.build(SPEC), "discriminator")
    rest = sum(weight * parts[key] for key, weight in (("class", 1.0),) if key in parts)
    torch.testing.assert_close(parts["total"], parts["loss"] + parts["r1"] + parts["r2"] + rest)
    assert "penalty" not in parts


@pytest.mark.parametrize("name", ["dcgan", "gan", "wgan_gp"])
def test_each_lazy_penalty_is_a_phase_with_its_gain(name: str) -> None:
    family = small(name, penalties={"r1": {"every": 4}, "r2": {"every": 8}, "dragan": {}})
    lazy = {each.name: (each.every, each.gain, each.batch) for each in family.phases() if each.every > 1}
    assert lazy == {"r1": (4, 4, "same"), "r2": (8, 8, "same")}
    assert [each.name for each in family.phases()] == ["discriminator", "r1", "r2", "generator"]
    networks = family.build(SPEC)
    for phase in ("r1", "r2"):
        parts = play(family, networks, phase)
        assert set(parts) == {"total", "penalty"}
        assert torch.autograd.grad(parts["total"], list(networks["discriminator"].parameters()), allow_unused=True)
    assert "dragan" in play(family, networks, "discriminator")
    given, used = family.config.discriminator, family.players()[0].optimiser
    if given.name == "adam":
        assert used.beta2 == pytest.approx(given.beta2 ** (1 / (1 + 1 / 4 + 1 / 8)))


def test_a_shared_pass_saves_the_penalties_theirs() -> None:
    """R3GAN's R1 and R2 come from the passes of the loss; elsewhere each has one of its own."""
    for name, keys, looks in (
        ("r3gan", {"preset": "small", "widths": [8, 8, 8], "groups": [4, 2, 2]}, 2),
        ("gan", {"preset": "smoke", "penalties": ["r1", "r2"]}, 4),
    ):
        family = load(name, **keys)
        networks = family.build(SPEC)
        seen = passes(networks)
        play(family, networks, "discriminator")
        assert len(seen) == looks, name


@pytest.mark.parametrize("loss", plugins.names("losses"))
def test_the_generator_s_turn_shows_reals_where_the_loss_compares_alone(loss: str) -> None:
    family = load("r3gan", preset="small", widths=[8, 8, 8], groups=[4, 2, 2], loss=loss)
    networks = family.build(SPEC)
    seen = passes(networks)
    parts = play(family, networks, "generator")
    assert len(seen) == (2 if loss == "relativistic" else 1)
    assert ("real" in parts) == (loss == "relativistic")


def test_simultaneous_players_share_fakes_and_move_at_the_end() -> None:
    family = small("dcgan", simultaneous=True, share_fakes=False, penalties={"r1": {"every": 2}})
    assert {(each.apply, each.latents) for each in family.phases()} == {("end", "z")}
    with pytest.raises(SettingsError, match="simultaneous: one set of fakes"):
        small("dcgan", simultaneous=True, share_fakes=False, discriminator_steps=2)
    with pytest.raises(SettingsError, match="share_fakes"):
        load("wgan", share_fakes=True)


@pytest.mark.parametrize("name", ["gan", "wgan_gp"])
def test_augmentation_plays_where_it_was_missing(name: str) -> None:
    family = small(name, augment={"name": "diff_augment", "policy": ["cutout"]})
    networks = family.build(SPEC)
    seen = passes(networks)
    play(family, networks, "discriminator")
    assert not torch.equal(seen[0].view(REAL.shape), REAL)
    assert all(bool((x == 0).flatten(1).any(dim=1).all()) for x in seen[:2])


def test_accuracy_is_reported_where_the_sign_of_a_logit_says_something() -> None:
    for loss in plugins.names("losses"):
        family = small("dcgan", loss=loss)
        signed = loss in {"hinge", "minimax", "non_saturating"}
        assert ("accuracy" in play(family, family.build(SPEC), "discriminator")) is signed


@pytest.mark.parametrize(
    ("penalties", "says"),
    [
        (["r1", "r1"], r"families\.penalties\.r1: stands twice"),
        ({"r1": {"every": 0}}, r"families\.penalties\.r1\.every: 0"),
        ({"r1": {"gama": 1}}, r"families\.penalties\.r1\.gama: unknown key; did you mean 'gamma'"),
        ({"r9": {}}, "there is no penalty 'r9'"),
        ({"r1": 3}, r"families\.penalties\.r1: must be a section"),
        ([3], r"families\.penalties"),
        ([{"gamma": 1}], "is required and missing"),
    ],
)
def test_wrong_penalties_are_named(penalties: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load("dcgan", penalties=penalties)


def test_penalties_are_one_a_list_or_by_name() -> None:
    one = [{"name": "r1", "gamma": 2.0}]
    for given in ({"name": "r1", "gamma": 2.0}, one, {"r1": {"gamma": 2.0}}):
        assert list(load("dcgan", penalties=given).config.penalties) == one
    assert list(load("dcgan", penalties="r1").config.penalties) == [{"name": "r1"}]
    assert list(load("dcgan", preset="digits", penalties=None).config.penalties) == []
    by_name = load("dcgan", preset="digits", penalties={"r1": {"gamma": 2.0}}).config
    assert list(by_name.penalties) == [{"name": "r1", "gamma": 2.0, "every": 4}], "the preset's every stays"


def test_a_penalty_s_key_can_be_searched_by_its_name() -> None:
    raw = {"families": {"dcgan": {"penalties": ["r2", {"name": "r1", "gamma": 1.0}]}}}
    assert at(raw, "families.dcgan.penalties.r1.gamma") == 1.0
    found = override(raw, {"families.dcgan.penalties.r1.gamma": 3.0})["families"]["dcgan"]
    assert list(load("dcgan", **found).config.penalties) == [{"name": "r2"}, {"name": "r1", "gamma": 3.0}]


@pytest.mark.parametrize("name", ["pix2pix", "wavegan"])
def test_a_design_without_labels_refuses_them(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"families\.{name}\.conditional: true is not allowed"):
        plugins.load("families", {"name": name, "conditional": True}, f"families.{name}")


def test_sound_is_not_augmented_as_images_are() -> None:
    with pytest.raises(SettingsError, match="augment: diff_augment changes images"):
        load("wavegan", augment="diff_augment")
    assert load("wavegan", augment="instance_noise").augmentation is not None


def test_an_optimiser_s_keys_are_laid_on_the_design_s_own() -> None:
    for name in plugins.names("families"):
        family = load(name)
        for key in ("generator", "discriminator"):
            own = getattr(family.config, key, None)
            if own is not None:
                changed = getattr(load(name, **{key: {"eps": 1e-3}}).config, key)
                assert changed == own.model_copy(update={"eps": 1e-3}), (name, key)


@pytest.mark.parametrize("name", plugins.names("families"))
def test_a_family_is_named_for_its_file_and_takes_its_turns_in_order(name: str) -> None:
    family = load(name, preset="smoke")
    assert family.name == name
    if isinstance(family, AdversarialFamily) and (spec := stand_in(family)) is not None:
        names = [player.name for player in family.players()]
        assert names[0] == family.first
        assert {phase.player for segment in family.segments() for phase in segment.phases} == set(names)
        family.check(spec)


def test_a_turn_without_data_says_what_it_needs() -> None:
    family = small("dcgan")
    turn = make_turn(family, family.build(SPEC), "discriminator")
    turn.batch = {}
    with pytest.raises(KeyError, match="needs a batch with x"):
        phase_of(family, "discriminator").objective(turn)
