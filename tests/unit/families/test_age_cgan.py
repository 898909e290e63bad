"""Age-cGAN: both forms of its networks against transcriptions, its objectives in closed form, its two segments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_text_to_image import bce
from torch import Tensor, nn

from pipeline import plugins
from pipeline.contract import AnyFamily, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.families.age_cgan import another
from pipeline.types import DataSpec

BANDS = 6
SPEC = DataSpec("image", (3, 16, 16), tuple("abcdef"))
X = torch.rand((6, 3, 16, 16), generator=torch.Generator().manual_seed(1)) * 2 - 1
LABEL = torch.tensor([0, 1, 2, 5, 5, 3])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)


def load(**keys: Any) -> Any:
    return plugins.load("families", {"name": "age_cgan", "preset": "smoke", **keys})


def turn_of(design: AnyFamily, networks: dict[str, nn.Module], phase: str, memory: dict[str, Any]) -> Turn:
    noise = draw_latents(design.latents, len(X), torch.Generator().manual_seed(5))
    return Turn(networks, {"x": X, "label": LABEL}, noise, State(seed=0), 0, phase, memory=memory)


def play(design: AnyFamily, networks: dict[str, nn.Module], name: str, memory: dict[str, Any]) -> dict[str, Tensor]:
    (phase,) = (each for segment in design.segments() for each in segment.phases if each.name == name)
    for key, network in networks.items():
        network.train(key not in phase.evaluating)
    return phase.objective(turn_of(design, networks, name, memory))


# --- networks ---------------------------------------------------------------------------------------------------


def down(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]


def up(before: int, after: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]


class WrittenG(nn.Module):
    """IcGAN's of 64 pixels, with 4 maps at the end."""

    def __init__(self) -> None:
        super().__init__()
        first = [nn.ConvTranspose2d(8 + BANDS, 32, 4, 1), nn.BatchNorm2d(32), nn.ReLU()]
        self.all = nn.Sequential(*first, *up(32, 16), *up(16, 8), *up(8, 4), nn.ConvTranspose2d(4, 3, 4, 2, 1))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.all(torch.cat([z, y], 1)[:, :, None, None]))


class WrittenD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 4, 2, 1)
        self.rest = nn.Sequential(*down(4 + BANDS, 8), *down(8, 16), *down(16, 32), nn.Conv2d(32, 1, 4, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = F.leaky_relu(self.one(x), 0.2)
        return self.rest(torch.cat([x, y[:, :, None, None].repeat(1, 1, *x.shape[2:])], 1)).flatten()


def written_e() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 4), (4, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(before, after, 5, 2, 2), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(512, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8)
    )  # fmt: skip


def test_networks_are_those_of_the_sheet() -> None:
    spec = DataSpec("image", (3, 64, 64), tuple("abcdef"))
    networks = load(smallest=4).build(spec)
    z, x = torch.randn(3, 8), torch.rand(3, 3, 64, 64) * 2 - 1
    label = torch.tensor([2, 0, 5])
    signed = 2.0 * F.one_hot(label, BANDS) - 1
    sheet = (("generator", WrittenG(), z), ("discriminator", WrittenD(), x), ("encoder", written_e(), x))
    for name, other, given in sheet:
        ours = networks[name]
        other.load_state_dict(dict(zip(other.state_dict(), ours.state_dict().values(), strict=True)))
        found, expected = (
            (ours(given), other(given)) if name == "encoder" else (ours(given, label), other(given, signed))
        )
        assert torch.allclose(found, expected, atol=1e-5), name


def test_the_keras_form_pads_as_tensorflow_and_doubles_by_repetition() -> None:
    spec = DataSpec("image", (3, 64, 64), tuple("abcdef"))
    networks = load(smallest=4, networks="keras", label_code="one_hot", generator_dense=8).build(spec)
    x, label = torch.rand(3, 3, 64, 64) * 2 - 1, torch.tensor([2, 0, 5])
    code = F.one_hot(label, BANDS).float()
    weights = dict(networks["discriminator"].named_parameters())

    def same(y: Tensor, name: str, kernel: int) -> Tensor:
        before = (kernel - 2) // 2
        padded = F.pad(y, (before, kernel - 2 - before) * 2)
        return F.conv2d(padded, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], stride=2)

    y = F.leaky_relu(same(x, "first", 3), 0.2)
    y = torch.cat([y, code[:, :, None, None].expand(-1, -1, 32, 32)], 1)
    for level in range(3):
        y = F.leaky_relu(F.batch_norm(same(y, f"halvings.{level}.0", 3), None, None, training=True, eps=1e-3), 0.2)
    expected = y.flatten(1) @ weights["head.weight"].T + weights["head.bias"]
    assert torch.allclose(networks["discriminator"](x, label), expected.flatten(), atol=1e-5)
    weights = dict(networks["encoder"].named_parameters())
    y = F.leaky_relu(same(x, "layers.0", 5), 0.2)  # no norm behind the first
    y = F.leaky_relu(F.batch_norm(same(y, "layers.2", 5), None, None, training=True, eps=1e-3), 0.2)
    assert torch.allclose(networks["encoder"].layers[:5](x), y, atol=1e-5)  # pyright: ignore[reportIndexIssue]
    weights = dict(networks["generator"].named_parameters())
    z = torch.randn(3, 8)
    y = torch.cat([z, code], 1) @ weights["first.weight"].T + weights["first.bias"]
    y = F.leaky_relu(y, 0.2) @ weights["second.weight"].T + weights["second.bias"]
    y = F.leaky_relu(F.batch_norm(y, None, None, training=True, eps=1e-3), 0.2).view(3, 16, 8, 8)
    for level in range(2):
        name = f"doublings.{level}.0"
        y = F.conv2d(y.repeat_interleave(2, 2).repeat_interleave(2, 3), weights[f"{name}.weight"], padding=2)
        y = F.leaky_relu(F.batch_norm(y, None, None, training=True, eps=1e-3), 0.2)  # the bias leaves with the mean
    y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = torch.tanh(F.conv2d(y, weights["output.weight"], weights["output.bias"], padding=2))
    assert torch.allclose(networks["generator"](z, label), expected, atol=1e-5)


def test_dropout_is_of_g_s_own_turn_and_counted() -> None:
    design = load(networks="keras", share_fakes=False)
    networks = design.build(SPEC)
    turn = turn_of(design, networks, "generator", {})
    once, again = (design.generate(turn) for _ in range(2))
    plain = networks["generator"](turn.latents["z"], LABEL)
    assert torch.equal(once, again)
    assert not torch.allclose(once, plain)
    assert torch.equal(design.generate(turn_of(design, networks, "discriminator", {})), plain)
    evaluating = {phase.name: phase.evaluating for segment in design.segments() for phase in segment.phases}
    still = frozenset({"generator"})
    assert evaluating == {"discriminator": still, "generator": frozenset(), "encoder": still}


# --- objectives -------------------------------------------------------------------------------------------------


def test_d_sees_fakes_and_wrong_bands_by_halves() -> None:
    design = load()
    networks = design.build(SPEC)
    found = play(design, networks, "discriminator", {})
    turn = turn_of(design, networks, "discriminator", {})
    judge, fake = networks["discriminator"], networks["generator"](turn.latents["z"], LABEL)
    wrong = another(LABEL, BANDS, turn.generator("wrong"))
    assert not bool((wrong == LABEL).any())
    expected = bce(judge(X, LABEL), 1) + (bce(judge(X, wrong), 0) + bce(judge(fake, LABEL), 0)) / 2
    assert torch.allclose(found["total"], expected, atol=1e-5)


def test_without_wrong_bands_the_game_is_the_plain_one() -> None:
    design = load(wrong_labels=0.0, loss={"name": "non_saturating", "smoothing": 0.1})
    networks = design.build(SPEC)
    found = play(design, networks, "discriminator", {})
    turn = turn_of(design, networks, "discriminator", {})
    judge, fake = networks["discriminator"], networks["generator"](turn.latents["z"], LABEL)
    assert torch.allclose(found["total"], bce(judge(X, LABEL), 0.9) + bce(judge(fake, LABEL), 0), atol=1e-5)


def test_g_asks_for_bands_of_the_data_or_for_all_alike() -> None:
    design = load(share_fakes=False, generator_labels="uniform")
    networks = design.build(SPEC)
    memory: dict[str, Any] = {}
    found = play(design, networks, "generator", memory)
    turn, asked = turn_of(design, networks, "generator", {}), memory["labels"]
    assert not torch.equal(asked, LABEL)
    fake = networks["generator"](turn.latents["z"], asked)
    assert torch.allclose(found["total"], bce(networks["discriminator"](fake, asked), 1), atol=1e-5)


@pytest.mark.parametrize("distance", ["squared", "euclidean"])
def test_the_encoder_learns_the_noise_of_a_generator_that_stands_still(distance: str) -> None:
    design = load(encoder_distance=distance)
    networks = design.build(SPEC)
    before = {key: value.clone() for key, value in networks["generator"].state_dict().items()}
    found = play(design, networks, "encoder", {})
    z = turn_of(design, networks, "encoder", {}).latents["z"]
    apart = networks["encoder"](networks["generator"](z, LABEL)) - z
    expected = (apart**2).mean() if distance == "squared" else (apart**2).sum(1).sqrt().mean()
    assert torch.allclose(found["total"], expected, atol=1e-5)
    fixed = list(networks["generator"].parameters())
    assert all(each is None for each in torch.autograd.grad(found["total"], fixed, allow_unused=True))
    assert all(torch.equal(value, before[key]) for key, value in networks["generator"].state_dict().items())


def test_segments_and_players() -> None:
    design = load()
    assert [(each.name, each.examples) for each in design.segments()] == [("conditional", 64), ("encoder", None)]
    assert {player.name: player.networks for player in design.players()} == {
        name: (name,) for name in ("discriminator", "generator", "encoder")
    }
    assert design.averaged == ("generator", "encoder")


def test_another_band_is_any_other() -> None:
    drawn = another(torch.full((600,), 2), BANDS, torch.Generator().manual_seed(0))
    assert (
        torch.bincount(drawn, minlength=BANDS).tolist()
        == [pytest.approx(120, abs=45)] * 2 + [0] + [pytest.approx(120, abs=45)] * 3
    )


def test_an_image_is_encoded_as_the_latents_are_named() -> None:
    design = load()
    networks = design.build(SPEC)
    networks["encoder"].eval()
    found = design.procedures()["encode"](networks, X)
    assert {key: value.shape for key, value in found.items()} == {"z": (6, 8)}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"loss": "relativistic"}, "compares each real with one fake"),
        ({"generator_labels": "uniform"}, "share_fakes"),
        ({"penalties": ["gradient_penalty"]}, "batch norm ties the examples together"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(**keys)


def test_images_that_are_halved_once_are_refused() -> None:
    with pytest.raises(SettingsError, match="halves images twice or more"):
        load().check(DataSpec("image", (3, 8, 8), ("a", "b")))
