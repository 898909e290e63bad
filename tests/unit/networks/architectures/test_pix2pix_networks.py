from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.networks.architectures.pix2pix import PatchDiscriminator, PatchPlan, Unet, UnetPlan, receptive_field
from pipeline.networks.layers.dropout import Dropper


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize(("layers", "side"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_patch_is_as_large_as_published(layers: int, side: int) -> None:
    """By counting which pixels move one logit in the middle of a network without norms."""
    assert receptive_field(layers) == side
    network = PatchDiscriminator(PatchPlan(1, 1, layers, "none")).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    x = torch.zeros(1, 1, 320, 320, dtype=torch.float64, requires_grad=True)
    logits = network(x)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
    assert len(rows) == int(rows[-1] - rows[0]) + 1 == side


def test_256_pixels_give_30_by_30_logits() -> None:
    with torch.device("meta"):
        assert PatchDiscriminator(PatchPlan(6))(torch.empty(1, 6, 256, 256)).shape == (1, 1, 30, 30)


SMALL = UnetPlan(2, 3, (4, 8, 8, 8), dropped=2)


def test_the_image_comes_back_in_its_size() -> None:
    assert Unet(SMALL)(torch.rand(2, 2, 16, 32)).shape == (2, 3, 16, 32)


def test_alone_is_training_mode_with_one_example() -> None:
    network, x = Unet(SMALL), torch.rand(3, 2, 32, 32) * 2 - 1
    nn.init.normal_(network.up[0][1].weight)
    network.train()
    with torch.no_grad():
        one_by_one = torch.cat([network(each[None]) for each in x])
        network.eval()
        together = network(x, alone=True)
        averaged = network(x)
    assert torch.allclose(together, one_by_one, atol=1e-5)
    assert not torch.allclose(together, averaged, atol=1e-2)


def test_sampling_moves_no_running_statistics() -> None:
    network = Unet(SMALL).train()
    before = [buffer.clone() for buffer in network.buffers()]
    network(torch.rand(2, 2, 16, 16), alone=True)
    assert all(torch.equal(a, b) for a, b in zip(before, network.buffers(), strict=True))


def test_every_skip_reaches_the_output() -> None:
    """Noise added to each level of the encoder alone changes the image: nothing is cut off."""
    network, x = Unet(SMALL).eval(), torch.rand(1, 2, 32, 32)
    plain = network(x, alone=True)
    for level in network.down:
        handle = level[0].register_forward_hook(lambda module, inputs, output: output + torch.randn_like(output))
        assert not torch.allclose(network(x, alone=True), plain, atol=1e-4)
        handle.remove()


def test_dropout_stands_in_the_blocks_behind_the_innermost() -> None:
    network, seen = Unet(UnetPlan(1, 1, (2, 2, 2, 2, 2), dropped=2)), []

    class Spy(Dropper):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape[2:]))
            return x

    network(torch.rand(1, 1, 32, 32), Spy(torch.tensor([0]), 0.5))
    assert seen == [(4, 4), (8, 8)]
