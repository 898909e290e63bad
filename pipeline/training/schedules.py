"""Settings that change while a run goes on: which family it plays by at which examples, and what may change so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch import nn

from pipeline.contract import AnyFamily, Phase
from pipeline.contract.planned import planned
from pipeline.errors import SettingsError
from pipeline.settings import shown
from pipeline.types import DataSpec

Later = Sequence[tuple[int, AnyFamily]]
"""Families by the examples from which they are played, in order; before the first, the run's own is."""

PLAIN = (int, float, str, bool, tuple, type(None))


def family_at(first: AnyFamily, later: Later, examples_seen: int) -> AnyFamily:
    """The family whose players and phases the next step uses: a function of the clock, so that a resumed run agrees."""
    found = first
    for start, family in later:
        if examples_seen >= start:
            found = family
    return found


def check(first: AnyFamily, later: Later, spec: DataSpec) -> None:
    """Refuse a schedule that no run could follow.

    Raises:
        SettingsError: naming the place and what would change there.
    """
    starts = [start for start, _ in later]
    if starts != sorted(set(starts)) or any(start <= 0 for start in starts):
        raise SettingsError(f"schedule: changes at {starts} examples; they must be above 0, and each beyond the last")
    for start, family in later:
        if difference := unlike(first, family, spec):
            raise SettingsError(f"schedule: at {start:,} examples {difference}; a run cannot change that on its way")


def unlike(one: AnyFamily, other: AnyFamily, spec: DataSpec) -> str | None:
    """What a change from `one` to `other` would do beside numbers that a step reads: None where nothing.

    Networks are compared by their tensors' shapes and the plain values their modules hold, such as a rate of
    dropout; players by who owns what, with which kind of optimiser; the curriculum by its segments and phases.
    Nothing is computed: networks are built on the meta device.
    """
    before, after = dict(_traits(one, spec)), dict(_traits(other, spec))
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after or name not in before:
            return f"{name} would {'go' if name in before else 'come'}"
        if before[name] != after[name]:
            return f"{name} would change from {_short(before[name])} to {_short(after[name])}"
    return None


def _traits(family: AnyFamily, spec: DataSpec) -> Iterator[tuple[str, Any]]:
    """What has to stay, by a name for people."""
    for player in family.players():
        yield f"the networks of the player {player.name}", player.networks
        yield f"the optimiser of the player {player.name}", player.optimiser.name
    for segment in family.segments():
        name = f"the segment {segment.name}"
        yield f"{name}'s length", segment.examples
        yield f"what {name} resets", (segment.reset_optimisers, segment.rebuild)
        yield f"the phases of {name}", tuple(phase.name for phase in segment.phases)
        for phase in segment.phases:
            yield from _turns(phase)
    yield "the averaged networks", family.averaged
    yield "what is read of the data", sorted(family.needs)
    yield "the noise", tuple((latent.name, latent.shape, latent.distribution) for latent in family.latents_for(spec))
    for what, tensors in (("state", family.state(spec)), ("state of a lane", family.lane_state(spec, 1))):
        for name, tensor in tensors.items():
            yield f"the {what} {name}", (tuple(tensor.shape), str(tensor.dtype))
    for name, network in planned(family, spec).items():
        for path, module in network.named_modules():
            yield from _parts(f"{name}.{path}" if path else name, module)


def _turns(phase: Phase) -> Iterator[tuple[str, Any]]:
    """When and on what a phase is played; a number of turns that is a function of the state may be another one."""
    whose = f"of the phase {phase.name}"
    for what in ("player", "batch", "latents", "every", "apply"):
        yield f"`{what}` {whose}", getattr(phase, what)
    yield f"`repeats` {whose}", phase.repeats if isinstance(phase.repeats, int) else "as the state says"
    yield f"`evaluating` {whose}", tuple(sorted(phase.evaluating))


def _parts(name: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield name, type(module).__name__
    for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        yield f"the shape of {name}.{key}", tuple(tensor.shape)
    found: Mapping[str, Any] = vars(module)
    for key, value in found.items():
        if isinstance(value, PLAIN) and not key.startswith("_") and key != "training":
            yield f"{name}.{key}", value


def _short(value: object) -> str:
    text = " × ".join(map(str, cast(tuple[int, ...], value))) if _is_shape(value) else shown(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _is_shape(value: object) -> bool:
    return (
        isinstance(value, tuple) and all(type(size) is int for size in cast(tuple[object, ...], value)) and value != ()
    )
