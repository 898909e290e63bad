"""The search repeats: whatever order trials finish in, the same suggestions and the same stops."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import TPESampler
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from pipeline.cluster.search.batches_of_trials import BatchedHalving, BatchedSearcher
from pipeline.search import spaces
from pipeline.search.settings import Range

SPACE = {"x": Range(uniform=(-1.0, 1.0)), "y": Range(loguniform=(1e-3, 1.0)), "k": Range(choice=["a", "b"])}
RUNGS, LENGTH = [1, 2], 4


@dataclass
class Trial:
    trial_id: str


def score(config: dict[str, Any], step: int) -> float:
    """Falls with training, and is least in one place."""
    return (config["x"] - 0.3) ** 2 + config["y"] + (config["k"] == "a") + 1 / step


def optuna(seed: int = 0, space: dict[str, Range] = SPACE) -> OptunaSearch:
    sampler = TPESampler(seed=seed, n_startup_trials=3)
    return OptunaSearch(spaces.define(space, "none"), metric="score", mode="min", sampler=sampler)


def play(order: random.Random, workers: int, space: dict[str, Range] = SPACE) -> list[tuple[dict[str, Any], int]]:
    """9 trials by threes in which chance picks who goes on; each one's settings and how far it came, as suggested."""
    scheduler = BatchedHalving("step", "score", RUNGS, 2.0)
    searcher = BatchedSearcher(optuna(space=space), scheduler, 3, 9)
    running: dict[str, tuple[dict[str, Any], int]] = {}
    reached: dict[str, int] = {}
    started, over = 0, False
    while running or not over:
        if not over and len(running) < workers and (not running or order.random() < 0.5):
            # Tune makes up its own names.
            name = f"{order.getrandbits(32):08x}-{started}"
            config = searcher.suggest(name)
            over = config == Searcher.FINISHED
            if isinstance(config, dict):
                scheduler.on_trial_add(None, Trial(name))
                running[name] = (config, 0)
                started += 1
                continue
            assert running or over, "nothing runs and nothing is suggested"
        if not running:
            continue
        name = order.choice(sorted(running))
        config, step = running[name]
        result = {"step": step + 1, "score": score(config, step + 1)}
        running[name] = (config, step + 1)
        if step + 1 == LENGTH or scheduler.on_trial_result(None, Trial(name), result) == TrialScheduler.STOP:
            del running[name]
            reached[str(config)] = step + 1
            scheduler.on_trial_complete(None, Trial(name), result)
            searcher.on_trial_complete(name, result)
        else:
            searcher.on_trial_result(name, result)
    return [(config, reached[str(config)]) for config in searcher.configs]


# Few choices, so that suggestions repeat.
SMALL = {"x": Range(choice=[0.0, 0.3]), "y": Range(choice=[0.1, 0.2, 0.3]), "k": Range(choice=["b"])}
IN_TURN = play(random.Random(0), workers=1)
SMALL_IN_TURN = play(random.Random(0), workers=1, space=SMALL)


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_no_order_and_no_number_of_workers_changes_the_search(order: random.Random, workers: int) -> None:
    assert play(order, workers) == IN_TURN
    assert play(order, workers, SMALL) == SMALL_IN_TURN


def test_the_search_does_stop_the_worse_and_learn_from_the_better() -> None:
    steps = [step for _, step in IN_TURN]
    assert steps[:3] == [LENGTH] * 3, "the first batch has nothing to be measured by"
    assert min(steps) < LENGTH
    assert len({config["x"] for config, _ in IN_TURN}) == 9


def searcher_of(batch: int, trials: int, space: dict[str, Range] = SPACE) -> BatchedSearcher:
    return BatchedSearcher(optuna(space=space), BatchedHalving("step", "score", RUNGS, 2.0), batch, trials)


def test_the_next_batch_waits_for_the_last_of_this_one() -> None:
    searcher = searcher_of(2, 4)
    assert isinstance(searcher.suggest("one"), dict)
    assert isinstance(searcher.suggest("two"), dict)
    assert searcher.suggest("three") is None
    searcher.on_trial_complete("two", {"score": 1.0})
    assert searcher.suggest("three") is None
    searcher.on_trial_complete("one", {"score": 2.0})
    assert isinstance(searcher.suggest("three"), dict)


def test_a_failed_trial_ends_its_batch_too() -> None:
    searcher = searcher_of(1, 2)
    searcher.suggest("one")
    searcher.on_trial_complete("one", None, error=True)
    searcher.on_trial_complete("never started", None, error=True)
    assert isinstance(searcher.suggest("two"), dict)
    searcher.on_trial_complete("two", {"score": 1.0})
    assert searcher.suggest("three") == Searcher.FINISHED


def test_a_suggestion_that_repeats_counts_and_is_not_run() -> None:
    """One choice of four values, twenty trials: each value is run once, and all twenty results are told."""
    searcher = searcher_of(2, 20, {"a": Range(choice=[1, 2, 3, 4])})
    for number in range(20):
        config = searcher.suggest(str(number))
        if config == Searcher.FINISHED:
            break
        assert isinstance(config, dict)
        searcher.on_trial_complete(str(number), {"score": float(config["a"])})
    values = [config["a"] for config in searcher.configs]
    assert searcher.left == 0
    assert len(values) == len(set(values)) <= 4
    study = searcher._inner._ot_study  # pyright: ignore
    assert [trial.values[0] for trial in study.trials] == [float(trial.params["a"]) for trial in study.trials]
    assert len(study.trials) == 20


def halving(reduction: float = 2.0) -> tuple[BatchedHalving, Callable[[str, int, float], bool]]:
    scheduler = BatchedHalving("step", "score", [10, 20], reduction)
    for name in "abcd":
        scheduler.on_trial_add(None, Trial(name))

    def stopped(name: str, step: int, value: float) -> bool:
        return scheduler.on_trial_result(None, Trial(name), {"step": step, "score": value}) == TrialScheduler.STOP

    return scheduler, stopped


def test_a_rung_is_measured_against_earlier_batches_only() -> None:
    scheduler, stopped = halving()
    assert not stopped("a", 10, 1.0)
    assert not stopped("b", 10, 100.0), "of the same batch"
    scheduler.learn()
    assert not stopped("c", 5, 999.0), "no rung yet"
    assert not stopped("d", 10, 50.5), "as good as the better half of 1 and 100"
    assert stopped("c", 10, 50.6)
    assert not stopped("d", 25, 999.0), "none of the earlier ones came to this rung"


def test_a_reading_may_pass_two_rungs() -> None:
    scheduler, stopped = halving(reduction=4.0)
    assert not stopped("a", 20, 1.0)
    scheduler.learn()
    assert stopped("c", 20, 2.0)
