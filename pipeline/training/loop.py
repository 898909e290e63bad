"""The game loop: read, play the phases, average, tick. It names no family, no Ray, no MLflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from pipeline import randomness
from pipeline.contract import AnyFamily, Phase, Record, Reporter, Scorer, State, World
from pipeline.errors import NonFinite, TrainingFailed
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.training import beside, health, lanes, schedules, ticks
from pipeline.training.averaging import Average
from pipeline.training.checkpointing import Checkpointer
from pipeline.training.run_state import RunState
from pipeline.training.settings import TrainSettings
from pipeline.training.step import Stepper
from pipeline.types import Batch, DataSpec


class BatchReader(Protocol):
    """Rows start…stop of the global batch that begins at `position` of the endless order."""

    def batch(self, position: int, start: int, stop: int, device: torch.device) -> Batch: ...


@dataclass
class Outcome:
    """How a run ended. `history` holds every tick's record.

    networks: the averaged ones as `settings.publish` asks; state: where the run stood with them.
    """

    status: str
    state: State
    networks: dict[str, nn.Module]
    history: list[Record]
    scores: Mapping[str, float] = field(default_factory=lambda: {})
    reason: str | None = None


@dataclass
class RunParts:
    """What a run is made of. `stop_on_collapse` ends a trial early; a training only warns.

    grid: called by rank 0 with the averaged networks and examples seen, at `settings.grid`.
    beside: has snapshots scored while training goes on, in place of `scorer`; equal scores.
    leaving: whether a machine is about to be taken away, asked by every rank at ticks: a checkpoint is then made.
    intact: called by rank 0 at ticks; raises where what was written since the beginning is not all there any more.
    later: what takes the place of `family`, from which examples on; `schedules.check` has passed it.
    """

    settings: TrainSettings
    family: AnyFamily
    spec: DataSpec
    batches: BatchReader | None
    world: World
    reporter: Reporter
    store: CheckpointStore
    scorer: Scorer | None = None
    grid: Callable[[Mapping[str, nn.Module], int], None] | None = None
    stop_on_collapse: bool = False
    beside: beside.Snapshots | None = None
    leaving: Callable[[], bool] | None = None
    intact: Callable[[], None] | None = None
    later: schedules.Later = ()


def build(family: AnyFamily, spec: DataSpec, state: State, device: torch.device) -> dict[str, nn.Module]:
    """Networks initialised from (seed, attempt, segment), whatever torch's generator was used for before."""
    counters = (state.attempt, state.segment) if state.segment else (state.attempt,)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(randomness.key(state.seed, "init", *counters))
        return {name: network.to(device) for name, network in family.build(spec).items()}


def fit(run: RunParts) -> Outcome:
    """Train to `settings.examples`, going on from the newest checkpoint; every rank calls it.

    Raises:
        TrainingFailed: after `health.rollbacks` returns from NaN, naming phase and tensor.
        SettingsError: if lanes do not divide among workers.
    """
    torch.set_num_threads(run.settings.threads_per_lane)
    game = Game(run)
    game.start()
    while game.state.examples_seen < run.settings.examples:
        try:
            tick = game.step()
        except NonFinite as error:
            game.roll_back(error)
            continue
        if tick is not None and game.end_tick(tick):
            return game.outcome("collapsed")
    return game.outcome("finished")


class Game:
    """One run in motion: the state, the players' optimisers, the average and the clock."""

    def __init__(self, run: RunParts) -> None:
        settings = run.settings
        self.run = run
        self.family = run.family
        state = State(seed=settings.seed)
        run.family.check_lane(settings.batch_size // settings.lanes)
        networks = build(run.family, run.spec, state, run.world.device)
        fast = settings.reduction == "fast"
        self.stepper = Stepper(run.family, networks, run.world, settings.lanes, settings.batch_size, fast)
        self.stepper.latents = run.family.latents_for(run.spec)
        self.average = Average(networks, run.family.averaged, settings.averaging)
        self.kept = RunState(networks, self.average, self.stepper, state)
        self.checkpointer = Checkpointer(run.store, run.world, run.reporter, run.family.objective)
        self.reason: str | None = None
        self.segments = run.family.segments()
        self._reals: list[Batch] = []

    @property
    def state(self) -> State:
        """The clock and the family's own tensors, as they are now."""
        return self.kept.state

    def start(self) -> None:
        """From the newest checkpoint, or from the beginning."""
        if not self.checkpointer.restore(self.kept, self.run.settings):
            self.begin(attempt=0)
        else:
            if self.run.world.rank == 0:
                self.run.reporter.note(f"going on from the checkpoint at {self.state.examples_seen:,} examples")
            self._ask_again()
        self._clock = ticks.Clock(self.state.examples_seen)

    def begin(self, attempt: int) -> None:
        """A fresh start in place: new weights, empty optimisers, empty history."""
        family, spec, device = self.run.family, self.run.spec, self.run.world.device
        state = State(seed=self.run.settings.seed, attempt=attempt)
        fresh = build(family, spec, state, device)
        state.tensors = {name: value.to(device) for name, value in family.state(spec).items()}
        lanes = [
            {name: value.to(device) for name, value in family.lane_state(spec, self.stepper.lane_size).items()}
            for _ in self.stepper.mine
        ]
        self.kept.begin(fresh, state, lanes)

    def step(self) -> ticks.Tick | None:
        """One step of the current segment; the tick it completed, if it did.

        Raises:
            NonFinite: if a gradient or a part of an objective is not finite.
        """
        state, before = self.state, self.state.examples_seen
        self.kept.began = before
        self._retune()
        self.stepper.begin()
        self._reals = []
        for phase in self._phases():
            if state.step % phase.every or (phase.when and not phase.when(state)):
                continue
            repeats = phase.repeats if isinstance(phase.repeats, int) else phase.repeats(state)
            for repeat in range(repeats):
                self.stepper.turn(phase, repeat, self._read(phase), state)
        observed = self.stepper.finish()
        # A step that reads no data (bits drawn from counters) still moves the clock by its batch.
        if state.examples_seen == before:
            state.examples_seen += self.run.settings.batch_size
        self.family.after_step(self.kept.networks, state, observed)
        self.average.update(state.examples_seen, state.examples_seen - before)
        state.step += 1
        return self._clock.count(observed, before, state.examples_seen, self.run.settings.tick)

    def end_tick(self, tick: ticks.Tick) -> bool:
        """Score, report and keep what is due at this tick; True if the run is to end here."""
        run, seen = self.run, self.state.examples_seen
        settings = run.settings
        if run.intact and run.world.rank == 0:
            run.intact()
        last = seen >= settings.examples
        record: Record = {"examples_seen": seen, "step": self.state.step, "attempt": self.state.attempt}
        record.update(tick.means)
        collapsed = None
        due = last or ticks.crossed(tick.before, seen, settings.score.every)
        if due and run.beside:
            run.beside.submit(self.average.networks, self.state.attempt, seen)
        elif due and run.scorer and not run.beside:
            self.kept.scores = run.scorer(self.average.networks, run.world)
            record.update(self.kept.scores)
            collapsed = health.collapse(self.kept.scores, seen, settings.health)
        self.checkpointer.check_parity(self.kept)
        self.kept.history.append(record)
        if run.world.rank == 0:
            late = self._collect(wait=last)
            self._report(record, tick, collapsed, late)
        if collapsed and run.stop_on_collapse:
            # Without a checkpoint: a run that is killed here and started again comes to the same end.
            self.reason = collapsed
            return True
        if last or ticks.crossed(tick.before, seen, settings.checkpoint) or self._leaving():
            self.checkpointer.save(self.kept)
        return False

    def _leaving(self) -> bool:
        leaving = self.run.leaving is not None and self.run.leaving()
        if leaving and self.run.world.rank == 0:
            self.run.reporter.note(f"preemption notice: saving a checkpoint at {self.state.examples_seen:,} examples")
        return leaving

    def roll_back(self, error: NonFinite) -> None:
        """Back to the newest checkpoint with another attempt number, or the run has failed.

        The attempt is part of every randomness key: the same noise would meet the same NaN.
        """
        where = self.stepper.name_non_finite(error.where)
        attempt = self.state.attempt + 1
        if attempt > self.run.settings.health.rollbacks:
            raise TrainingFailed(
                f"{where} is not finite at {self.state.examples_seen:,} examples, after "
                f"{attempt - 1} returns to a checkpoint; lower the learning rates or raise the penalty"
            )
        if self.checkpointer.restore(self.kept, self.run.settings):
            self.state.attempt = attempt
        else:
            self.begin(attempt)
        self._ask_again()
        self._clock = ticks.Clock(self.state.examples_seen)
        if self.run.world.rank == 0:
            self.run.reporter.note(
                f"{where} is not finite; back to {self.state.examples_seen:,} examples, attempt {attempt}"
            )

    def outcome(self, status: str) -> Outcome:
        """What the caller gets: the averaged networks as they are now, or as they scored best."""
        state = self.state
        if self.run.settings.publish == "best":
            state = self.checkpointer.take_best(self.kept) or state
        return Outcome(status, state, self.average.networks, self.kept.history, self.kept.scores, self.reason)

    def _retune(self) -> None:
        """Go over to the settings of this point of the clock: forwards, or back after a roll-back."""
        family = schedules.family_at(self.run.family, self.run.later, self.state.examples_seen)
        if family is not self.family:
            self.family, self.segments = family, family.segments()
            self.stepper.retune(family)

    def _phases(self) -> tuple[Phase, ...]:
        """The current segment's phases; entering a segment may reset the optimisers."""
        end = 0
        for number, segment in enumerate(self.segments):
            end += segment.examples or 0
            if segment.examples is None or self.state.examples_seen < end or number == len(self.segments) - 1:
                if number > self.state.segment:
                    self.state.segment = number
                    self._rebuild(segment.rebuild)
                    if segment.reset_optimisers:
                        for optimiser in self.stepper.optimisers.values():
                            optimiser.reset()
                return segment.phases
        return ()

    def _rebuild(self, names: tuple[str, ...]) -> None:
        """Fresh weights, and averages, for networks that begin a segment again."""
        fresh = build(self.run.family, self.run.spec, self.state, self.run.world.device) if names else {}
        for name in names:
            self.kept.networks[name].load_state_dict(fresh[name].state_dict())
            if name in self.average.networks:
                self.average.networks[name].load_state_dict(fresh[name].state_dict())

    def _read(self, phase: Phase) -> list[Batch]:
        """This rank's lanes of the batch the phase asks for; fresh ones move the clock."""
        if phase.batch == "none" or self.run.batches is None:
            return []
        if phase.batch == "fresh" or not self._reals:
            size, stepper = self.stepper.lane_size, self.stepper
            start, device = self.state.examples_seen, self.run.world.device
            rows = self.run.batches.batch(start, stepper.mine.start * size, stepper.mine.stop * size, device)
            self._reals = lanes.cut(rows, size, len(stepper.mine))
            self.state.examples_seen += self.run.settings.batch_size
        return self._reals

    def _ask_again(self) -> None:
        """Only for the scores that the history at hand still lacks."""
        if self.run.beside:
            self.run.beside.resume(self.kept.history)

    def _collect(self, wait: bool) -> Record:
        """Scores that were made beside training, into the records they belong to; those of earlier ticks are returned.

        They are named as a `Reporter` has them: `frechet@640` is that of the reading at 640 examples.
        """
        late: Record = {}
        if self.run.beside is None:
            return late
        records = {beside.key_of(record): record for record in self.kept.history}
        for key, scores in self.run.beside.arrived(wait):
            records[key].update(scores)
            self.kept.scores = scores
            if key[1] != self.state.examples_seen:
                late.update({f"{name}@{key[1]}": value for name, value in scores.items()})
            if collapsed := health.collapse(scores, key[1], self.run.settings.health):
                self.run.reporter.note(f"at {key[1]:,} examples the samples have collapsed: {collapsed}")
        return late

    def _report(self, record: Record, tick: ticks.Tick, collapsed: str | None, late: Record) -> None:
        run, seen = self.run, self.state.examples_seen
        line: dict[str, Any] = {**record, **late, **tick.rates(run.settings.examples - seen), "time": time.time()}
        run.reporter.tick(line)
        for warning in health.warnings(record, run.settings.health):
            run.reporter.note(f"at {seen:,} examples {warning}")
        if collapsed:
            run.reporter.note(f"at {seen:,} examples the samples have collapsed: {collapsed}")
        if run.grid and ticks.crossed(tick.before, seen, run.settings.grid):
            run.grid(self.average.networks, seen)
