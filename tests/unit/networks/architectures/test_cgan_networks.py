from __future__ import annotations

import torch

from pipeline.networks.architectures.cgan import TwoBranchMaxout, TwoBranchRelu


def test_branches_meet_and_dropout_needs_a_generator() -> None:
    up = TwoBranchRelu(4, 3, (5, 6), 7, 8)
    z, code = torch.randn(2, 4), torch.eye(3)[:2]
    assert up.joint.in_features == 11
    assert torch.equal(up(z, code, 0.5), up(z, code, 0.5))
    source = torch.Generator().manual_seed(0)
    assert not torch.equal(up(z, code, 0.5, source), up(z, code, 0.5))
    down = TwoBranchMaxout(8, 0, ((4, 2), (3, 2), (5, 2)))
    assert down.code is None
    assert down(torch.randn(2, 8), code[:, :0], 1.0).shape == (2,)
