"""SRGAN: its two segments, what each part of its losses is, crops, content by three ways, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, State, Turn
from pipeline.errors import SettingsError
from pipeline.families import _content
from pipeline.families._translation import cropped
from pipeline.networks.architectures import vgg
from pipeline.types import DataSpec, FieldSpec, like_x

X = torch.rand((4, 3, 32, 32), generator=torch.Generator().manual_seed(1)) * 2 - 1
LOW = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(2)) * 2 - 1
SPEC = DataSpec("image", (3, 32, 32), fields=like_x({"low": (3, 8, 8)}))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def family(**keys: Any) -> AnyFamily:
    return plugins.load("families", {"name": "srgan", "preset": "smoke", **keys})


def play(design: AnyFamily, networks: dict[str, nn.Module], phase: str) -> dict[str, Tensor]:
    (chosen,) = (each for segment in design.segments() for each in segment.phases if each.name == phase)
    batch: Any = {"x": X, "low": LOW}
    return chosen.objective(Turn(networks, batch, {}, State(seed=0), 0, phase))


def test_segments_are_pre_training_and_the_game_with_fresh_optimisers() -> None:
    first, second = family(pretraining=4800).segments()
    assert (first.name, first.examples, [each.player for each in first.phases]) == ("pretraining", 4800, ["generator"])
    assert ([each.player for each in second.phases], second.reset_optimisers) == (["discriminator", "generator"], True)
    assert [each.name for each in family(pretraining=0).segments()] == ["adversarial"]
    order = [each.player for each in family(first="generator").segments()[1].phases]
    assert order == ["generator", "discriminator"]


@pytest.mark.parametrize(("distance", "formula"), [("l2", F.mse_loss), ("l1", F.l1_loss)])
def test_pre_training_is_the_distance_of_pixels(distance: str, formula: Any) -> None:
    design = family(pretraining_distance=distance)
    networks = design.build(SPEC)
    parts = play(design, networks, "pretraining")
    assert torch.equal(parts["total"], formula(networks["generator"]((LOW + 1) / 2), X))


def test_the_published_loss_is_content_and_a_thousandth_of_the_game() -> None:
    design = family(content={"name": "pixels"}, pixels=0.0)
    networks = design.build(SPEC)
    parts = play(design, networks, "generator")
    fake = networks["generator"]((LOW + 1) / 2)
    content = F.mse_loss((fake + 1) / 2, (X + 1) / 2)
    game = F.binary_cross_entropy_with_logits(networks["discriminator"](fake), torch.ones(4))
    torch.testing.assert_close(parts["total"], content + 1e-3 * game)
    told = play(design, networks, "discriminator")
    logits = networks["discriminator"](X), networks["discriminator"](fake.detach())
    wanted = sum(
        F.binary_cross_entropy_with_logits(each, torch.full((4,), aim))
        for each, aim in zip(logits, (1.0, 0.0), strict=True)
    )
    torch.testing.assert_close(told["total"], wanted)


def test_esrgans_losses_are_relativistic_averages_in_0_to_1() -> None:
    published = plugins.configure("families", {"name": "srgan", "preset": "esrgan"}).model_dump()
    keys = {key: published[key] for key in ("design", "loss", "adversarial", "pixels", "first", "pretraining_distance")}
    design = family(**keys, content={"name": "pixels", "distance": "l1"}, growth=2)
    networks = design.build(SPEC)
    real, fake = (X + 1) / 2, networks["generator"]((LOW + 1) / 2)
    parts = play(design, networks, "generator")
    on_real, on_fake = networks["discriminator"](real).detach(), networks["discriminator"](fake)
    one, zero = torch.ones(4), torch.zeros(4)
    bce = F.binary_cross_entropy_with_logits
    game = (bce(on_real - on_fake.mean(), zero) + bce(on_fake - on_real.mean(), one)) / 2
    pixel = F.l1_loss(fake, real)
    torch.testing.assert_close(parts["total"], pixel + 1e-2 * pixel + 5e-3 * game)
    told = play(design, networks, "discriminator")
    on_real, on_fake = networks["discriminator"](real), networks["discriminator"](fake.detach())
    wanted = (bce(on_real - on_fake.mean(), one) + bce(on_fake - on_real.mean(), zero)) / 2
    torch.testing.assert_close(told["total"], wanted)
    made = design.sample(networks, {}, {"low": LOW})  # pyright: ignore[reportArgumentType] (a field of these data)
    torch.testing.assert_close(made, (2 * fake - 1).clamp(-1, 1))


# --- content ------------------------------------------------------------------------------------


def test_vgg_is_shown_0_to_1_and_its_maps_are_rescaled(monkeypatch: pytest.MonkeyPatch) -> None:
    network = vgg.Vgg(19, ("relu1_2",)).eval().requires_grad_(False)
    monkeypatch.setattr(_content._vgg, "load", lambda depth, taps: network)  # the weights are 80 MB elsewhere
    loss = _content.ContentLoss(_content.Content(layer="relu1_2"))
    made = torch.rand(2, 3, 16, 16, requires_grad=True)
    truth = torch.rand(2, 3, 16, 16)
    maps = [network(each)["relu1_2"] / 12.75 for each in (made, truth)]
    found = loss(made, truth)
    torch.testing.assert_close(found, (maps[0] - maps[1]).square().mean())
    (gradient,) = torch.autograd.grad(found, made)
    assert gradient.abs().sum() > 0
    grey = loss(made[:, :1], truth[:, :1])
    torch.testing.assert_close(grey, loss(made[:, :1].repeat(1, 3, 1, 1), truth[:, :1].repeat(1, 3, 1, 1)))


def test_the_references_extractor_is_looked_through_in_minus_1_to_1() -> None:
    extractor = plugins.load("extractors", {"name": "random_projection"})
    with torch.random.fork_rng(devices=[]):
        extractor.prepare(Toy(), Toy(), 0)
    design = family(content={"name": "reference", "distance": "l1"}, pixels=0.0, adversarial=0.0)
    assert design.perceives
    assert not design.assets
    design.perceive(extractor)
    networks = design.build(SPEC)
    parts = play(design, networks, "generator")
    fake = networks["generator"]((LOW + 1) / 2)
    seen = [extractor.smooth(each) for each in (fake, X)]
    torch.testing.assert_close(parts["total"], (seen[0] - seen[1]).abs().mean())
    (gradient,) = torch.autograd.grad(parts["total"], [networks["generator"].get_parameter("last.bias")])
    assert gradient.abs().sum() > 0


class Toy:
    """Examples for an extractor that only wants their shape."""

    spec = SPEC

    def __len__(self) -> int:
        return 4

    def examples(self, indices: Any) -> dict[str, Any]:
        return {"x": ((X + 1) * 127.5).round().to(torch.uint8).numpy()[indices]}


def test_only_vgg_needs_weights() -> None:
    found = {name: family(content={"name": name}).assets for name in ("vgg19", "reference", "pixels")}
    assert found == {"vgg19": ("vgg19",), "reference": (), "pixels": ()}
    with pytest.raises(SettingsError, match="relu5_9"):
        family(content={"name": "vgg19", "layer": "relu5_9"})


# --- crops --------------------------------------------------------------------------------------


def test_a_crop_is_one_place_of_both() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8).repeat(5, 1, 1, 1)
    low = x[:, :, ::2, ::2]
    small, large = cropped(low, x, 4, 2, torch.Generator().manual_seed(3))
    assert (small.shape, large.shape) == ((5, 1, 2, 2), (5, 1, 4, 4))
    assert torch.equal(large[:, :, ::2, ::2], small)
    assert len({float(each[0, 0, 0]) for each in large}) > 1, "each example has a place of its own"


def test_both_players_see_one_crop_of_the_size_that_d_is_built_for() -> None:
    design = family(crop=16)
    networks = design.build(SPEC)
    memory: dict[str, Any] = {}
    batch: Any = {"x": X, "low": LOW}
    seen = [
        design.real(Turn(networks, batch, {}, State(seed=0), 0, phase, memory=memory))  # pyright: ignore
        for phase in ("discriminator", "generator")
    ]
    assert seen[0].shape == (4, 3, 16, 16)
    assert torch.equal(*seen)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "sides", "low", "says"),
    [
        ({}, (32, 32), (16, 16), r"scale: 4 makes 64×64 of low, which is 16×16, and x is 32×32"),
        ({"scale": 2}, (30, 31), (15, 15), "scale: 2 makes 30×30"),
        ({"crop": 64}, (32, 32), (8, 8), "crop: 64 is more than the smaller side of the data, 32"),
        ({"design": "esrgan"}, (16, 16), (4, 4), "needs sides of 32"),
        ({"content": {"name": "vgg19"}}, (8, 8), (2, 2), "vgg19 needs sides of 16"),
        ({"content": {"name": "reference"}, "crop": 16}, (32, 32), (8, 8), "sees whole images of 32×32"),
    ],
)
def test_data_that_do_not_fit_are_refused(keys: dict[str, Any], sides: Any, low: Any, says: str) -> None:
    spec = DataSpec("image", (3, *sides), fields=(FieldSpec.usual("low", "image", (3, *low), "derived"),))
    with pytest.raises(SettingsError, match=says):
        family(**keys).check(spec)


def test_a_crop_off_the_grid_is_refused() -> None:
    with pytest.raises(SettingsError, match="crop: 18 is not a multiple of scale: 4"):
        family(crop=18)
