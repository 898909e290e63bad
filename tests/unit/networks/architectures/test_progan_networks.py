from __future__ import annotations

from typing import cast

import pytest
import torch

from pipeline.networks.architectures.progan import GrownDiscriminator, GrownGenerator
from pipeline.networks.blocks.growing import GrownPlan, at_detail
from pipeline.networks.layers.resample import enlarge, shrink

PLAN = GrownPlan((3, 2), 2, 3, width=32, max_width=6)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lod", [0.0, 0.5, 1.0, 1.75, 2.0])
def test_images_are_of_full_size_at_every_detail(lod: float) -> None:
    generator, critic = GrownGenerator(PLAN, 5, 0), GrownDiscriminator(PLAN, 2)
    image = generator(noise(4, 5), lod=lod)
    assert image.shape == (4, 3, 12, 8)
    cell = 2 ** int(lod)
    torch.testing.assert_close(enlarge(shrink(image, int(lod)), int(lod)), image)
    assert cell == 4 or not torch.allclose(enlarge(shrink(image, int(lod) + 1), int(lod) + 1), image, atol=1e-3)
    assert critic(image, lod).shape == (4, 2)


def test_a_fade_runs_from_the_old_image_to_the_new() -> None:
    generator = GrownGenerator(PLAN, 5, 0)
    z = noise(2, 5)
    old, half, new = (generator(z, lod=lod) for lod in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half, (old + new) / 2)


def test_the_critic_fades_from_the_head_below() -> None:
    critic = GrownDiscriminator(PLAN, 1, "none")
    x = noise(2, 3, 12, 8)
    nearly_old, old = critic(x, 0.999999), critic(at_detail(x, PLAN, 1.0), 1.0)
    torch.testing.assert_close(nearly_old, old, rtol=1e-3, atol=1e-4)


def test_heads_out_of_use_get_no_gradient() -> None:
    generator = GrownGenerator(PLAN, 5, 0)
    names = [name for name, _ in generator.named_parameters()]
    for lod, used in ((2.0, {"0"}), (1.0, {"1"}), (1.5, {"0", "1"}), (0.0, {"2"})):
        total = generator(noise(2, 5), lod=lod).square().sum()
        own = list(generator.parameters())
        found = cast(tuple[torch.Tensor | None, ...], torch.autograd.grad(total, own, allow_unused=True))
        heads = {
            name.split(".")[1]
            for name, each in zip(names, found, strict=True)
            if "to_image" in name and each is not None
        }
        assert heads == used


def test_minibatch_options_of_the_critic() -> None:
    x = noise(4, 3, 12, 8)
    for name, extra in (("none", 0), ("deviation", 6 * 9), ("discrimination", 6 * 160 + 32 + 32)):
        critic = GrownDiscriminator(PLAN, 1, name)  # pyright: ignore[reportArgumentType]
        base = sum(each.numel() for each in GrownDiscriminator(PLAN, 1, "none").parameters())
        assert sum(each.numel() for each in critic.parameters()) == base + extra
        alone = critic(x[:1].repeat(4, 1, 1, 1))
        assert alone.shape == (4, 1)
