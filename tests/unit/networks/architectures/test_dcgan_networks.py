from __future__ import annotations

import torch

from pipeline.networks.architectures.dcgan import (
    CodedDiscriminator,
    CodedGenerator,
    PairedDiscriminator,
    PairedGenerator,
    PairedPlan,
    StackGenerator,
)
from pipeline.networks.blocks.dense_stacks import DensePlan, DenseUpward
from pipeline.networks.layers.embedding import LabelVector


def test_paired_networks_mirror_each_other() -> None:
    plan = PairedPlan((4, 4), (16, 8, 4), (4, 8), 16, 3, classes=2)
    image = PairedGenerator(plan, 5)(torch.randn(2, 5))
    assert image.shape == (2, 3, 16, 16)
    critic = PairedDiscriminator(plan)
    assert critic(image, torch.tensor([0, 1])).shape == (2,)
    block = critic.blocks[0]
    assert [name.split(".")[0] for name, _ in block.named_parameters()][::2] == ["keep", "halve", "norm1", "norm2"]


def test_labels_stand_beside_the_noise_or_beside_every_layer() -> None:
    plan, label = DensePlan((2, 2), (4, 2), 1, joined=3), torch.tensor([0, 2])
    bare = DensePlan((2, 2), (4, 2), 1)
    embedded = StackGenerator(DenseUpward(bare, 5 + 2), classes=3, embedding=2)
    z = torch.randn(2, 5)
    assert embedded(z, label).shape == (2, 1, 8, 8)
    assert embedded.embedding is not None
    coded = CodedGenerator(plan, 5, LabelVector(3))
    image = coded(z, label)
    torch.testing.assert_close(image, torch.tanh(0.5 * coded.stack(z, torch.eye(3)[label])))
    plain, unit = (CodedDiscriminator(plan, LabelVector(3), unit).eval() for unit in (False, True))
    unit.load_state_dict(plain.state_dict())
    torch.testing.assert_close(unit(image, label), plain((image + 1) / 2, label))
