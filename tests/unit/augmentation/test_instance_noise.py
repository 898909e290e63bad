from __future__ import annotations

import pytest
import torch

from pipeline.augmentation.instance_noise import Augmentation, Config
from pipeline.contract import Ramp, State


def shown(deviation: object, seen: int, count: int = 64) -> torch.Tensor:
    augmentation = Augmentation(Config.model_validate({"deviation": deviation}))
    x = torch.zeros(count, 3, 32, 32)
    return augmentation(x, State(seed=0, examples_seen=seen), torch.Generator().manual_seed(0))


def test_the_noise_has_its_deviation_and_repeats() -> None:
    x = shown(0.2, 0)
    assert x.std().item() == pytest.approx(0.2, rel=0.01)
    assert x.mean().item() == pytest.approx(0, abs=0.005)
    assert torch.equal(x, shown(0.2, 0))


def test_it_fades_on_the_clock_of_examples() -> None:
    ramp = Ramp(start=0.4, end=0.0, examples=1000).model_dump()
    assert shown(ramp, 0).std().item() == pytest.approx(0.4, rel=0.01)
    assert shown(ramp, 500).std().item() == pytest.approx(0.2, rel=0.01)
    assert not shown(ramp, 1000).any()
    assert not shown(ramp, 5000).any()


def test_a_gradient_passes_unchanged() -> None:
    x = torch.zeros(2, 1, 4, 4, requires_grad=True)
    out = Augmentation(Config())(x, State(seed=0), torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))
