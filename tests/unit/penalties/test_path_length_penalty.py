from __future__ import annotations

import math

import pytest
import torch

from pipeline.penalties._path_length import path_lengths, towards_mean


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_lengths_of_a_linear_generator() -> None:
    """x = A·w: the length is ‖Aᵀy‖ with the y of this generator over the root of the number of pixels."""
    a = torch.randn((2 * 4 * 3, 5), generator=seeded(1), dtype=torch.float64)
    ws = torch.randn((6, 1, 5), generator=seeded(2), dtype=torch.float64).requires_grad_()
    images = (ws[:, 0] @ a.T).view(6, 2, 4, 3)
    lengths = path_lengths(images, ws, seeded(3))
    y = torch.randn((6, 2, 4, 3), generator=seeded(3)).double() / math.sqrt(12)
    torch.testing.assert_close(lengths, (y.flatten(1) @ a).norm(dim=1))


def test_an_orthogonal_generator_has_the_expected_length() -> None:
    """With orthonormal columns E‖Aᵀy‖² is the number of columns over the pixels: 16/64."""
    a, _ = torch.linalg.qr(torch.randn((64, 16), generator=seeded(1)))
    ws = torch.zeros((4000, 1, 16)).requires_grad_()
    lengths = path_lengths((ws[:, 0] @ a.T).view(-1, 1, 8, 8), ws, seeded(2))
    assert lengths.square().mean().item() == pytest.approx(16 / 64, rel=0.03)


def test_layers_count_by_their_mean_square() -> None:
    """The same w in four layers, of which each has a quarter of the effect: lengths fall by 4."""
    a = torch.randn((9, 5), generator=seeded(1))
    one = torch.zeros((3, 1, 5)).requires_grad_()
    four = torch.zeros((3, 4, 5)).requires_grad_()
    single = path_lengths((one.mean(1) @ a.T).view(-1, 1, 3, 3), one, seeded(2))
    shared = path_lengths((four.mean(1) @ a.T).view(-1, 1, 3, 3), four, seeded(2))
    torch.testing.assert_close(shared, single / 4)


def test_the_mean_moves_first_and_lengths_are_drawn_to_it() -> None:
    lengths = torch.tensor([1.0, 3.0]).requires_grad_()
    penalty, mean = towards_mean(lengths, torch.tensor(10.0), 0.25)
    assert mean.item() == 8.0
    assert penalty.item() == pytest.approx((49 + 25) / 2)
    (gradient,) = torch.autograd.grad(penalty, lengths)
    assert gradient.tolist() == [-7.0, -5.0], "the mean is no function of the lengths"
