from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, Phase, Segment, State, Turn
from pipeline.errors import SettingsError
from pipeline.families._grown import Growth
from pipeline.networks.blocks.growing import Detail
from pipeline.types import Batch, DataSpec

SPEC = DataSpec("image", (3, 16, 16), ("a", "b"))
SMALL: dict[str, Any] = {"latent": 6, "levels": 2, "width": 16, "max_width": 6, "stable": 100, "fade": 50}
SMALL_STYLE: dict[str, Any] = {**SMALL, "style": 5, "mapping_layers": 2}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def load(name: str, **keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": name, **(SMALL if name == "progan" else SMALL_STYLE), **keys})


def turn(networks: dict[str, nn.Module], phase: str, seen: int, latent: int = 6, count: int = 4) -> Turn:
    source = torch.Generator().manual_seed(0)
    batch: Batch = {"x": torch.rand((count, 3, 16, 16), generator=source) * 2 - 1, "label": torch.arange(count) % 2}
    return Turn(
        networks, batch, {"z": torch.randn((count, latent), generator=source)}, State(0, examples_seen=seen), 0, phase
    )


def segment_of(family: AnyFamily, name: str) -> Segment:
    (found,) = (each for each in family.segments() if each.name == name)
    return found


def phase_of(segment: Segment, name: str) -> Phase:
    (found,) = (each for each in segment.phases if each.name == name)
    return found


# --- the clock --------------------------------------------------------------------------------


def test_the_papers_schedule() -> None:
    """600k examples at 4 pixels, 600k while 8 fade in, and so on to 1024 at 9.6 million."""
    growth = Growth(levels=8, first=0, stable=600_000, fade=600_000)
    at = {0: 8, 600_000: 8, 900_000: 7.5, 1_200_000: 7, 1_800_000: 7, 2_100_000: 6.5, 9_300_000: 0.5, 9_600_000: 0}
    assert {seen: growth.lod(seen) for seen in at} == at
    assert growth.lod(50_000_000) == 0
    assert Growth(levels=8, first=1, stable=600_000, fade=600_000).lod(0) == 7


@settings(deadline=None)
@given(
    levels=st.integers(1, 8),
    first=st.integers(0, 2),
    stable=st.integers(1, 500),
    fade=st.integers(1, 500),
    seen=st.lists(st.integers(0, 10_000), min_size=2, max_size=10),
)
def test_detail_only_ever_grows(levels: int, first: int, stable: int, fade: int, seen: list[int]) -> None:
    growth = Growth(levels, min(first, levels), stable, fade)
    lods = [growth.lod(each) for each in sorted(seen)]
    assert lods == sorted(lods, reverse=True)
    assert 0 <= lods[-1] <= lods[0] <= levels
    for level in range(1, levels + 1):
        assert all(levels - level <= growth.lod_within(each, level, True) <= levels - level + 1 for each in seen)
        assert growth.lod_within(seen[0], level, False) == levels - level


def test_segments_of_progan_and_stylegan() -> None:
    segments = load("progan").segments()
    assert [(each.name, each.examples, each.reset_optimisers) for each in segments] == [
        ("level 0", 100, False),
        ("fade to level 1", 50, True),
        ("level 1", 100, True),
        ("fade to level 2", 50, True),
        ("level 2", None, True),
    ]
    assert [each.name for each in load("stylegan").segments()] == ["level 1", "fade to level 2", "level 2"]


def test_the_clock_and_the_segments_agree() -> None:
    """At each segment's end the clock's lod is what the next segment begins with."""
    family = load("progan")
    growth, end = family.growth, 0  # pyright: ignore[reportAttributeAccessIssue]
    for segment in family.segments()[:-1]:
        end += segment.examples or 0
        level = int(segment.name.rsplit(" ", 1)[1])
        assert growth.lod(end) == 2 - level


@pytest.mark.parametrize("name", ["progan", "stylegan"])
def test_after_each_step_samples_stand_at_the_clocks_detail(name: str) -> None:
    family = load(name)
    networks = family.build(SPEC)
    details = [module for module in networks["generator"].modules() if isinstance(module, Detail)]
    assert [each.get() for each in details] == [0.0], "never trained: fully grown"
    family.after_step(networks, State(0, examples_seen=125), {})
    assert details[0].get() == pytest.approx(1.5 if name == "progan" else 0.5)


# --- what plays -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["progan", "stylegan"])
def test_a_fade_moves_two_image_heads_and_a_level_one(name: str) -> None:
    family = load(name)
    networks = family.build(SPEC)
    for segment, seen, heads in (
        ("level 1", 250, {"1"}),
        ("fade to level 2", 125 if name == "stylegan" else 275, {"1", "2"}),
    ):
        parts = phase_of(segment_of(family, segment), "generator").objective(turn(networks, "generator", seen))
        names = [each for each, _ in networks["generator"].named_parameters()]
        own = list(networks["generator"].parameters())
        found = cast(tuple[Tensor | None, ...], torch.autograd.grad(parts["total"], own, allow_unused=True))
        moved = {
            key.split("levels.")[1].split(".")[0]
            for key, each in zip(names, found, strict=True)
            if "to_image" in key and each is not None
        }
        assert moved == heads


def test_progan_loss_is_wasserstein_with_penalty_drift_and_both_classes() -> None:
    family = load("progan", conditional=True)
    networks = family.build(SPEC)
    own = turn(networks, "discriminator", 10_000)
    parts = phase_of(family.segments()[-1], "discriminator").objective(own)
    with torch.no_grad():
        label = own.batch.get("label")
        fake = networks["generator"](own.latents["z"], label, 0.0)
        assert label is not None
        on_real, on_fake = networks["discriminator"](own.batch.get("x")), networks["discriminator"](fake)
    wanted = on_fake[:, 0].mean() - on_real[:, 0].mean() + 0.001 * on_real[:, 0].square().mean()
    torch.testing.assert_close(parts["loss"], wanted)
    cross = [nn.functional.cross_entropy(each[:, 1:], label) for each in (on_real, on_fake)]
    torch.testing.assert_close(parts["total"], wanted + parts["penalty"] + sum(cross))


def test_stylegan_picks_the_labels_logit() -> None:
    family = load("stylegan", conditional=True)
    outputs = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert family.read(outputs, torch.tensor([1, 0])).tolist() == [2.0, 3.0]  # pyright: ignore[reportAttributeAccessIssue]
    assert family.read(outputs[:, :1], None).tolist() == [1.0, 3.0]  # pyright: ignore[reportAttributeAccessIssue]


def test_reals_are_as_coarse_as_the_fakes() -> None:
    """In the first segment D sees means of cells: other details of a real change nothing."""
    family = load("progan", penalties=None, loss="hinge")
    networks = family.build(SPEC)
    play = phase_of(family.segments()[0], "discriminator").objective
    own = turn(networks, "discriminator", 50)
    first = play(own)["total"]
    x = own.batch.get("x")
    assert x is not None
    checks = torch.ones(16, 16)
    checks[::2, 1::2] = checks[1::2, ::2] = -1
    own.batch["x"] = x + 0.3 * checks
    torch.testing.assert_close(play(own)["total"], first)
    fine = phase_of(family.segments()[-1], "discriminator").objective
    assert not torch.allclose(fine(own)["total"], first)


@pytest.mark.parametrize("loss", ["minimax", "non_saturating", "least_squares", "hinge", "relativistic", "wasserstein"])
@pytest.mark.parametrize("name", ["progan", "stylegan"])
def test_any_loss_and_augmentation_plays(name: str, loss: str) -> None:
    family = load(name, loss=loss, penalties="r1", augment={"name": "ada", "p": 0.5}, minibatch="discrimination")
    networks = family.build(SPEC)
    for phase in family.segments()[-1].phases:
        parts = phase.objective(turn(networks, phase.name, 10_000))
        assert torch.isfinite(parts["total"])
        own = list(networks[phase.player].parameters())
        found: tuple[Tensor | None, ...] = torch.autograd.grad(parts["total"], own, allow_unused=True)
        assert any(each is not None and each.any() for each in found)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"loss": "wasserstein", "penalties": None}, "needs a bounded critic"),
        ({"loss": "relativistic", "augment": "ada"}, "watches the sign"),
        ({"stable": 0}, "stable"),
    ],
)
@pytest.mark.parametrize("name", ["progan", "stylegan"])
def test_unfit_combinations_are_refused(name: str, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(name, **keys)


def test_a_resolution_without_its_levels_is_refused_with_advice() -> None:
    with pytest.raises(SettingsError, match=r"progan.levels: 18×16 cannot be halved 2 times.*set levels to 1"):
        load("progan").check(DataSpec("image", (3, 18, 16)))
