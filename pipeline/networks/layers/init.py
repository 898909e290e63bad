"""Initialisations, drawn from torch's default generator, which the loop seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from pipeline.networks.layers.dimensions import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED

_CONVOLUTIONS = (*CONVOLUTIONS.values(), *TRANSPOSED.values())
_NORMS = tuple(BATCH_NORMS.values())


def _modules(networks: Iterable[nn.Module]) -> Iterator[nn.Module]:
    return chain.from_iterable(network.modules() for network in networks)


@torch.no_grad()
def normal(std: float, *networks: nn.Module, gain_std: float | None = None, linear: bool = True) -> None:
    """DCGAN's: weights N(0, std), batch-norm gains N(1, gain_std), which is std where it is None, every bias 0.

    linear=False leaves linear layers.
    """
    for module in _modules(networks):
        if isinstance(module, nn.Linear) and not linear:
            continue
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, _NORMS) and module.affine:
            nn.init.normal_(module.weight, 1.0, std if gain_std is None else gain_std)
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)


@torch.no_grad()
def cut_normal(std: float, *networks: nn.Module) -> None:
    """TensorFlow's truncated normal in convolutions: N(0, std), drawn again beyond two deviations."""
    for module in _modules(networks):
        if isinstance(module, _CONVOLUTIONS):
            nn.init.trunc_normal_(module.weight, 0.0, std, -2 * std, 2 * std)


@torch.no_grad()
def uniform(bound: float, *networks: nn.Module) -> None:
    """Weights of linear layers U(−bound, bound), biases 0 (Goodfellow et al. 2014)."""
    for module in _modules(networks):
        if isinstance(module, nn.Linear):
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)


def _zero_bias(module: nn.Module) -> None:
    bias = getattr(module, "bias", None)
    if isinstance(bias, nn.Parameter):
        nn.init.zeros_(bias)


@torch.no_grad()
def orthogonal(*networks: nn.Module) -> None:
    """BigGAN's: every weight orthogonal as a matrix (outputs, rest) (Saxe et al. 2014), biases 0."""
    for module in _modules(networks):
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear, nn.Embedding)):
            nn.init.orthogonal_(module.weight)
            _zero_bias(module)


@torch.no_grad()
def glorot(*networks: nn.Module, residual_gain: float = math.sqrt(2)) -> None:
    """SN-GAN's: Glorot-uniform, by `residual_gain` in layers named conv1 and conv2, biases 0."""
    for name, module in chain.from_iterable(network.named_modules() for network in networks):
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear, nn.Embedding)):
            branch = name.rpartition(".")[2] in {"conv1", "conv2", "conv3", "conv4"}
            nn.init.xavier_uniform_(module.weight, residual_gain if branch else 1.0)
            _zero_bias(module)


@torch.no_grad()
def glorot_normal(gain: float, *networks: nn.Module) -> None:
    """Convolutions and linear layers N(0, 2·gain² / (fan-in + fan-out)) (Glorot and Bengio 2010), biases 0."""
    for module in _modules(networks):
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
            nn.init.xavier_normal_(module.weight, gain)
            _zero_bias(module)


@torch.no_grad()
def uniform_variance(weight: Tensor, variance: float) -> None:
    """U(−√(3v), √(3v)): uniform of the given variance."""
    nn.init.uniform_(weight, -math.sqrt(3 * variance), math.sqrt(3 * variance))


@torch.no_grad()
def kaiming(*networks: nn.Module, scale: float = 1.0) -> None:
    """Weights of convolutions N(0, 2 / fan-in) (He et al. 2015), times `scale`, biases 0."""
    for module in _modules(networks):
        if isinstance(module, _CONVOLUTIONS):
            nn.init.kaiming_normal_(module.weight)
            module.weight.mul_(scale)
            _zero_bias(module)
