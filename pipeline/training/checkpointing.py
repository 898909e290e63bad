"""When a run is saved and from what it is restored, and whether ranks agree on its weights."""

from __future__ import annotations

import torch

from pipeline.contract import Reporter, State, World
from pipeline.errors import TrainingFailed
from pipeline.formats import checkpoint as disk
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.training.run_state import RunState, checksum
from pipeline.training.settings import TrainSettings

BEST = "best"


class Checkpointer:
    """Saves and restores a run's state; rank 0 writes, every rank reads the same checkpoint.

    objective: the score by which a checkpoint is the best.
    """

    def __init__(self, store: CheckpointStore, world: World, reporter: Reporter, objective: str) -> None:
        self.store = store
        self.world = world
        self.reporter = reporter
        self.objective = objective

    def save(self, run: RunState) -> None:
        """Write a checkpoint, and again as `best` where its own score has never been better."""
        lanes = run.lanes(self.world)
        if self.world.rank == 0:
            score = run.history[-1].get(self.objective)
            if isinstance(score, float) and (run.best is None or score < run.best):
                run.best = score
                self.store.save(run.to_checkpoint(lanes, score), BEST)
            self.store.save(run.to_checkpoint(lanes, run.best))
        self.world.barrier()

    def restore(self, run: RunState, settings: TrainSettings) -> bool:
        """Load the newest whole checkpoint; False where there is none.

        Checkpoints of a longer run of the same settings, beyond `examples`, are left alone; but
        where the best is to be published and lies beyond, all goes: the best on the way is lost.
        """
        found = None
        if self.world.rank == 0:
            if settings.publish == "best" and not self.store.usable(BEST, settings.examples):
                self.reporter.note("the best average is broken, or beyond train.examples; beginning again")
                self.store.clear()
            found = self.store.latest(self.reporter.note, settings.examples)
        number = torch.tensor([int(found.name) if found else -1], device=self.world.device)
        # Rank 0 decides which one: the others may still see one that it has found torn.
        number = int(self.world.gather(number)[0].item())
        if number < 0:
            return False
        self.store.ready(self.store.path(number))
        run.load(disk.load(self.store.path(number)), self.world.device)
        self.world.barrier()
        return True

    def take_best(self, run: RunState) -> State | None:
        """Put the best-scored average into the run; where it stood then, None without one."""
        path = self.store.folder / BEST
        self.store.ready(path)
        return run.take_average(disk.load(path), self.world.device) if path.is_dir() else None

    def check_parity(self, run: RunState) -> None:
        """Compare a checksum of all weights over the ranks.

        Raises:
            TrainingFailed: naming the ranks that differ: a silent divergence ends here.
        """
        if self.world.size == 1:
            return
        sums = [int(value.item()) for value in self.world.gather(checksum(run.networks).to(self.world.device))]
        if len(set(sums)) > 1:
            raise TrainingFailed(
                f"ranks hold different weights at {run.state.examples_seen:,} examples "
                f"(checksums {sums}); the run would not be reproducible from here"
            )
