"""VGAN: two streams and a mask, two logits, the mask's penalty, against a small transcription of the equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from designs import canon_of, smoke
from torch import Tensor, nn

from pipeline import plugins, randomness
from pipeline.contract import AnyFamily, State, Turn, draw_latents
from pipeline.errors import SettingsError
from pipeline.families._shared import count_parameters
from pipeline.types import DataSpec

SPEC = DataSpec("video", (3, 8, 16, 16), ("a", "b"), "uint8")
COUNT = 4


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def play(family: AnyFamily, networks: dict[str, nn.Module], x: Tensor) -> dict[str, dict[str, Tensor]]:
    memory: dict[str, Any] = {}
    found: dict[str, dict[str, Tensor]] = {}
    for phase in family.phases():
        noise = draw_latents(family.latents, COUNT, randomness.generator(0, "z"))
        turn = Turn(networks, {"x": x}, noise, State(0), 0, phase.name, memory=memory)
        found[phase.name] = phase.objective(turn)
    return found


def test_a_mask_lies_between_what_moves_and_what_stands_still() -> None:
    generator: Any = smoke("vgan").build(SPEC)["generator"]
    z = torch.randn(COUNT, 8)
    made, mask = generator.parts(z)
    behind = torch.tanh(generator.still.maps(z))
    maps = generator.moving.maps(z)
    assert maps.shape == (COUNT, 4, 8, 16, 16)
    front, m = torch.tanh(maps[:, :3]), 1 / (1 + torch.exp(-maps[:, 3:]))
    expected = torch.stack([m[:, :, t] * front[:, :, t] + (1 - m[:, :, t]) * behind for t in range(8)], dim=2)
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(mask, m)


def test_both_objectives_are_cross_entropies_of_two_logits() -> None:
    """D: half of CE(real is 0) + CE(fake is 1); G: CE(fake is 0) and a tenth of the mean mask."""
    family = smoke("vgan", discriminator_norm="none")
    networks = family.build(SPEC)
    x = torch.rand((COUNT, *SPEC.shape)) * 2 - 1
    parts = play(family, networks, x)
    z = draw_latents(family.latents, COUNT, randomness.generator(0, "z"))["z"]
    generator: Any = networks["generator"]
    fake, mask = generator.parts(z)
    on_real, on_fake = (networks["discriminator"](each) for each in (x, fake))
    assert on_fake.shape == (COUNT, 2)
    real, false = torch.zeros(COUNT, dtype=torch.long), torch.ones(COUNT, dtype=torch.long)
    d = (F.cross_entropy(on_real, real) + F.cross_entropy(on_fake, false)) / 2
    g = F.cross_entropy(on_fake, real) + 0.1 * mask.mean()
    torch.testing.assert_close(parts["discriminator"]["total"], d)
    torch.testing.assert_close(parts["generator"]["total"], g)
    torch.testing.assert_close(parts["generator"]["mask"], mask.mean())


def test_weights_and_gains_start_as_published() -> None:
    networks = plugins.load("families", {"name": "vgan", "generator_width": 16, "discriminator_width": 16}).build(
        DataSpec("video", (3, 32, 64, 64), (), "uint8")
    )
    for network in networks.values():
        gains: list[Tensor] = []
        for module in network.modules():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                assert float(module.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
                assert module.bias is not None
                assert not module.bias.any()
            elif isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                gains.append(module.weight.detach())
                assert module.eps == (1e-3 if network is networks["discriminator"] else 1e-5)
        assert float(torch.cat(gains).std()) == pytest.approx(0.02, rel=0.2)


def test_the_streams_have_the_published_parts() -> None:
    with torch.device("meta"):
        generator: Any = plugins.load("families", {"name": "vgan"}).build(canon_of("vgan")["clips64"].spec)["generator"]
    heads = count_parameters(generator.moving.last)
    assert (count_parameters(generator.still), count_parameters(generator.moving) - heads, heads) == (
        3_577_667,
        12_651_328,
        16_388,
    )


def test_labels_enter_both_networks() -> None:
    networks = smoke("vgan", conditional=True).build(SPEC)
    z, label = torch.randn(2, 8), torch.tensor([0, 1])
    made = networks["generator"](z, label)
    assert networks["discriminator"](made, label).shape == (2, 2)
    with torch.no_grad():
        for parameter in networks["discriminator"].parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    one, other = (networks["discriminator"](made, torch.full((2,), number)) for number in (0, 1))
    assert not torch.allclose(one[:, 0], other[:, 0])
    assert torch.equal(one[:, 1], other[:, 1]), "the projection is on the logit of real"


@pytest.mark.parametrize(
    ("keys", "key"), [({"augment": "flips"}, "augment"), ({"penalties": ["gradient_penalty"]}, "penalties")]
)
def test_what_does_not_fit_is_refused_by_key(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        smoke("vgan", **keys)


def test_a_video_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"families\.vgan"):
        smoke("vgan").check(DataSpec("video", (3, 7, 16, 16), (), "uint8"))
