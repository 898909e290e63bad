"""Optimisers of the players, their values on the clock, and their state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.contract import Networks, Optimiser, Player
from pipeline.contract import scheduled_value as value


def owned(networks: Networks, player: Player) -> dict[str, nn.Parameter]:
    """The player's parameters by `network/name`, in order."""
    return {
        f"{name}/{key}": parameter for name in player.networks for key, parameter in networks[name].named_parameters()
    }


class PlayerOptimiser:
    """One player's optimiser; its values are set from the clock before every step."""

    def __init__(self, player: Player, networks: Networks) -> None:
        self.player = player
        self.parameters = owned(networks, player)
        self.reset()

    def reset(self) -> None:
        """A new optimiser with no memory."""
        self._optimiser = _build(self.player.optimiser, list(self.parameters.values()))

    def retune(self, player: Player) -> None:
        """Go on, memory and all, with this player's values; its kind of optimiser is the same."""
        self.player = player
        group = self._optimiser.param_groups[0]
        group["weight_decay"] = player.optimiser.weight_decay
        if "eps" in group:
            group["eps"] = player.optimiser.eps

    def step(self, gradients: list[Tensor], examples_seen: int) -> None:
        """Apply these gradients, one a parameter and in order."""
        settings = self.player.optimiser
        group = self._optimiser.param_groups[0]
        group["lr"] = value(settings.lr, examples_seen)
        if settings.name == "adam":
            group["betas"] = (value(settings.beta1, examples_seen), value(settings.beta2, examples_seen))
        else:
            group["momentum"] = value(settings.momentum, examples_seen)
        for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
            parameter.grad = gradient
        self._optimiser.step()
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The optimiser's memory as `parameter//slot` tensors."""
        memory = self._optimiser.state
        return {
            f"{name}//{slot}": tensor
            for name, parameter in self.parameters.items()
            for slot, tensor in memory.get(parameter, {}).items()
            if isinstance(tensor, Tensor)
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.reset()
        for key, tensor in state.items():
            name, _, slot = key.rpartition("//")
            parameter = self.parameters[name]
            self._optimiser.state[parameter][slot] = tensor.to(parameter.device, copy=True)


def _build(settings: Optimiser, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    lr = value(settings.lr, 0)
    decay = settings.weight_decay
    if settings.name == "adam":
        betas = (value(settings.beta1, 0), value(settings.beta2, 0))
        return torch.optim.Adam(parameters, lr, betas, settings.eps, decay, fused=True)
    momentum = value(settings.momentum, 0)
    if settings.name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr, eps=settings.eps, momentum=momentum, weight_decay=decay)
    return torch.optim.SGD(parameters, lr, momentum, weight_decay=decay)
