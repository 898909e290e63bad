"""One turn of one phase, lane by lane: gradients in, one optimiser step out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pipeline import randomness
from pipeline.contract import AnyFamily, Networks, Phase, Player, State, Turn, World, draw_latents
from pipeline.errors import NonFinite
from pipeline.training.lanes import Tree, my_lanes, sum_over_ranks
from pipeline.training.optimisers import PlayerOptimiser
from pipeline.types import Batch


class Stepper:
    """Runs phases over this rank's lanes; the only place where gradients meet.

    Parts of the objectives and gradient norms of a step are kept in `observed`, as
    `phase/part` and `phase/gradient_norm`.
    """

    def __init__(
        self, family: AnyFamily, networks: Networks, world: World, lanes: int, batch_size: int, fast: bool
    ) -> None:
        self.family = family
        self.networks = networks
        self.world = world
        self.lanes = lanes
        self.lane_size = batch_size // lanes
        self.mine = my_lanes(lanes, world)
        self.fast = fast
        self.players: dict[str, Player] = {player.name: player for player in family.players()}
        self.optimisers = {name: PlayerOptimiser(player, networks) for name, player in self.players.items()}
        self.lane_state: list[dict[str, Tensor]] = []
        self._memory: list[dict[str, object]] = []
        self._observed: dict[str, Tensor] = {}
        self._held: list[tuple[PlayerOptimiser, list[Tensor], int]] = []
        self._advancing = {
            name: [module for module in network.modules() if hasattr(module, "advance")]
            for name, network in networks.items()
        }
        self.latents = family.latents  # the loop, which knows the data, hands over `latents_for` it

    def retune(self, family: AnyFamily) -> None:
        """Go on with the players of the same design, configured otherwise."""
        self.family = family
        self.players = {player.name: player for player in family.players()}
        for name, player in self.players.items():
            self.optimisers[name].retune(player)

    def begin(self) -> None:
        """A new step: forget what its phases shared and observed, and what a broken step held back."""
        self._memory = [{} for _ in self.mine]
        self._observed = {}
        self._held = []

    def finish(self) -> dict[str, float]:
        """Apply what simultaneous phases held back; the step's observations as floats.

        Raises:
            NonFinite: naming the first phase and part, or tensor, that is NaN or infinite.
        """
        names = list(self._observed)
        numbers: list[float] = torch.stack([self._observed[name] for name in names]).tolist() if names else []
        observed = dict(zip(names, numbers, strict=True))
        for name, number in observed.items():
            if number - number != 0:  # NaN and both infinities
                raise NonFinite(name, self._seen)
        for optimiser, gradients, examples_seen in self._held:
            optimiser.step(gradients, examples_seen)
        self._held = []
        self._memory = []
        return observed

    def turn(self, phase: Phase, repeat: int, batches: list[Batch], state: State) -> None:
        """One turn: every lane's gradient, their tree sum, the player's step."""
        self._seen = state.examples_seen
        optimiser = self.optimisers[phase.player]
        parameters = list(optimiser.parameters.values())
        self._set_modes(phase)
        noise = self._noise(phase, repeat, state)
        kept = self._training_buffers() if self.lanes > 1 else []
        before = [buffer.clone() for buffer in kept]
        # Counters (BatchNorm's num_batches_tracked) move alike in every lane; the rest is averaged.
        buffers = [buffer for buffer in kept if buffer.is_floating_point()]
        tree = Tree()
        names: list[str] = []
        for position, lane in enumerate(self.mine):
            if position:
                _restore(kept, before)
            turn = Turn(
                networks=self.networks,
                batch=batches[position] if batches else {},
                latents={name: values[self._rows(lane)] for name, values in noise.items()},
                state=state,
                lane=lane,
                phase=phase.name,
                repeat=repeat,
                lane_state=self.lane_state[position] if self.lane_state else {},
                memory=self._memory[position],
            )
            parts = phase.objective(turn)
            names = list(parts)
            gradients = _gradients(parts["total"], parameters)
            values = torch.stack([parts[name].detach().float() for name in names])
            tree.add([*gradients, *(buffer.clone() for buffer in buffers), values])
        total = sum_over_ranks(tree.total(), self.world, self.fast)
        if self.lanes > 1:
            total = list(torch._foreach_mul(total, 1 / self.lanes))
        gradients = total[: len(parameters)]
        _restore(buffers, total[len(parameters) : -1])
        self._observe(phase, names, total[-1], gradients)
        if phase.gain != 1:
            gradients = list(torch._foreach_mul(gradients, phase.gain))
        if phase.apply == "end":
            self._held.append((optimiser, gradients, state.examples_seen))
        else:
            optimiser.step(gradients, state.examples_seen)

    def name_non_finite(self, where: str) -> str:
        """`where`, with the first parameter that is not finite, for a message."""
        for optimiser in self.optimisers.values():
            for name, parameter in optimiser.parameters.items():
                if not bool(torch.isfinite(parameter).all()):
                    return f"{where} (and first of the weights {name})"
        return where

    def _rows(self, lane: int) -> slice:
        return slice(lane * self.lane_size, (lane + 1) * self.lane_size)

    def _noise(self, phase: Phase, repeat: int, state: State) -> Mapping[str, Tensor]:
        """The global batch's latents; every rank draws all and takes its own rows."""
        purpose = f"latents/{phase.latents or phase.name}"
        # Phases that share noise must agree on its counters: the step's, not the turn's.
        counters = (state.step, state.attempt, 0 if phase.latents else repeat)
        source = randomness.generator(state.seed, purpose, *counters)
        drawn = draw_latents(self.latents, self.lanes * self.lane_size, source)
        return {name: values.to(self.world.device) for name, values in drawn.items()}

    def _set_modes(self, phase: Phase) -> None:
        for name, network in self.networks.items():
            training = name not in phase.evaluating
            if network.training != training:
                network.train(training)
            if training:
                for module in self._advancing[name]:
                    module.advance()  # pyright: ignore[reportCallIssue]

    def _training_buffers(self) -> list[Tensor]:
        return [
            buffer for _, network in sorted(self.networks.items()) if network.training for buffer in network.buffers()
        ]

    def _observe(self, phase: Phase, names: list[str], values: Tensor, gradients: list[Tensor]) -> None:
        for name, value in zip(names, values, strict=True):
            self._observed[f"{phase.name}/{name}"] = value
        norms = torch.stack(torch._foreach_norm(gradients))
        self._observed[f"{phase.name}/gradient_norm"] = torch.linalg.vector_norm(norms)


def _restore(buffers: list[Tensor], values: list[Tensor]) -> None:
    """Set buffers without touching their version: a graph kept by `Turn.once` has seen them.

    In training mode no backward formula reads running statistics, so this changes no gradient.
    """
    for buffer, value in zip(buffers, values, strict=True):
        buffer.data.copy_(value)


def _gradients(total: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """One gradient a parameter, laid out as the parameter is; zeros where it plays no part."""
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    gradients: list[Tensor] = []
    for parameter, gradient in zip(parameters, cast(tuple[Tensor | None, ...], found), strict=True):
        if gradient is None:
            gradients.append(torch.zeros_like(parameter))
        elif gradient.stride() == parameter.stride():
            gradients.append(gradient)
        else:
            gradients.append(torch.empty_like(parameter).copy_(gradient))
    return gradients
