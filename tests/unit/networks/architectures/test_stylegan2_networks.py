from __future__ import annotations

import math

import pytest
import torch

from pipeline.networks.architectures.stylegan2 import (
    MappingNetwork,
    StyleDiscriminator,
    StyleDiscriminatorPlan,
    StylePlan,
    StyleSynthesis,
)
from pipeline.networks.blocks.mapping import StyleGenerator

PLAN = StylePlan((4, 3), 2, 3, width=64, max_width=8)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def generator_of(classes: int = 0) -> StyleGenerator:
    synthesis = StyleSynthesis(PLAN, 6)
    return StyleGenerator(synthesis, MappingNetwork(5, classes, 6, 2), synthesis.layers, 6)


def test_layers_and_maps_of_the_paper() -> None:
    plan = StylePlan((4, 4), 8, 3)
    assert [plan.maps(level) for level in range(9)] == [512] * 5 + [256, 128, 64, 32]
    with torch.device("meta"):
        assert StyleSynthesis(plan, 512).layers == 18


def stylegan2_name(name: str, levels: int) -> str:
    """A weight of our StyleGAN2 by its name in stylegan2-ada-pytorch (d72cc7d); blocks are called by their pixels.

    levels: doublings from 4 pixels. A generator's blocks go up from there, a discriminator's down to 8.
    """
    head, _, rest = name.partition(".")
    if head == "mean":
        return f"mapping.{rest}"
    if head == "epilogue":
        return f"b4.{rest}"
    if head == "mapping":
        return name.replace("mapping.layers.", "mapping.fc", 1)
    block, _, inner = rest.removeprefix("blocks.").partition(".")
    if head == "synthesis":
        return f"synthesis.b{4 * 2 ** int(block)}.{inner}"
    return f"b{4 * 2 ** (levels - int(block))}.{inner}"


def test_every_weight_has_a_name_in_the_authors_code() -> None:
    generator = generator_of(3)
    kept = [name for name, _ in generator.named_buffers() if name.endswith(("noise_const", "w_avg"))]
    names = [stylegan2_name(name, 2) for name in [*(name for name, _ in generator.named_parameters()), *kept]]
    layer = ["weight", "noise_strength", "bias", "affine.weight", "affine.bias", "noise_const"]
    head = ["torgb.weight", "torgb.bias", "torgb.affine.weight", "torgb.affine.bias"]
    wanted = ["b4.const"]
    for pixels, convolutions in ((4, ["conv1"]), (8, ["conv0", "conv1"]), (16, ["conv0", "conv1"])):
        wanted += [f"b{pixels}.{conv}.{each}" for conv in convolutions for each in layer]
        wanted += [f"b{pixels}.{each}" for each in head]
    wanted = [f"synthesis.{each}" for each in wanted]
    wanted += [f"mapping.{layer}.{each}" for layer in ("embed", "fc0", "fc1") for each in ("weight", "bias")]
    assert sorted(names) == sorted([*wanted, "mapping.w_avg"])


def test_every_weight_of_the_discriminator_has_a_name_in_the_authors_code() -> None:
    plan = StyleDiscriminatorPlan(PLAN, classes=3, mapping_layers=1)
    names = [stylegan2_name(name, 2) for name, _ in StyleDiscriminator(plan).named_parameters()]
    wanted = ["b16.fromrgb.weight", "b16.fromrgb.bias"]
    for pixels in (16, 8):
        wanted += [f"b{pixels}.{conv}.{each}" for conv in ("conv0", "conv1") for each in ("weight", "bias")]
        wanted += [f"b{pixels}.skip.weight"]
    wanted += [f"mapping.{layer}.{each}" for layer in ("embed", "fc0") for each in ("weight", "bias")]
    wanted += [f"b4.{layer}.{each}" for layer in ("conv", "fc", "out") for each in ("weight", "bias")]
    assert sorted(names) == sorted(wanted)


def test_each_w_steers_its_own_layer_and_an_image_head_shares_the_next_ones() -> None:
    """Layer 1 is the first head's w and conv0's of the next block; the last w is the last head's alone."""
    synthesis = StyleSynthesis(PLAN, 6)
    ws = torch.randn(1, 6, 6).requires_grad_()
    (gradient,) = torch.autograd.grad(synthesis(ws).square().sum(), ws)
    assert (gradient.abs().sum(2) > 0).all()
    with torch.no_grad():
        for name, parameter in synthesis.named_parameters():
            if name.endswith("torgb.weight") and not name.startswith("blocks.0"):
                parameter.zero_()
    (gradient,) = torch.autograd.grad(synthesis(ws).square().sum(), ws)
    assert (gradient.abs().sum(2) > 0)[0].tolist() == [True, True, False, False, False, False]


def test_truncation_acts_on_the_first_layers() -> None:
    generator = generator_of()
    z = torch.randn(3, 5)
    ws = generator.styles(z, psi=0.0, cutoff=2)
    assert torch.equal(ws[:, :2], generator.mean.w_avg.expand(3, 2, -1))
    assert torch.equal(ws[:, 2:], generator.styles(z)[:, 2:])
    assert torch.equal(generator(z, psi=0.0)[0], generator(z, psi=0.0)[1])


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
@pytest.mark.parametrize("classes", [0, 3])
def test_critics_answer_one_logit_an_example(architecture: str, classes: int) -> None:
    critic = StyleDiscriminator(StyleDiscriminatorPlan(PLAN, classes, architecture, "none"))  # pyright: ignore[reportArgumentType]
    x = torch.randn(4, 3, 16, 12)
    label = torch.arange(4) % 3 if classes else None
    logits = critic(x, label)
    assert logits.shape == (4,)
    with torch.no_grad():
        others = critic(x.flip(0), label.flip(0) if label is not None else None).flip(0)
    torch.testing.assert_close(logits, others, rtol=1e-4, atol=1e-5)


def test_a_projection_is_divided_by_the_root_of_its_width() -> None:
    critic = StyleDiscriminator(StyleDiscriminatorPlan(PLAN, 3, minibatch="none"))
    x, label = torch.randn(2, 3, 16, 12), torch.tensor([0, 2])
    assert critic.mapping is not None
    features = critic.epilogue(critic.blocks(x))
    wanted = (features * critic.mapping(None, label)).sum(1) / math.sqrt(8)
    torch.testing.assert_close(critic(x, label), wanted)


def test_residual_branches_keep_the_variance() -> None:
    """Both branches times √½: the sum of two independent unit signals stays near 1."""
    plan = StylePlan((8, 8), 1, 3, width=4 * 2 * 64, max_width=64)
    critic = StyleDiscriminator(StyleDiscriminatorPlan(plan, minibatch="none"))
    y = critic.blocks(torch.randn(16, 3, 16, 16))
    assert 0.2 < y.square().mean().item() < 2
