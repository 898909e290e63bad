"""Scores made beside training are those made in step, whenever they arrive and however often the run is killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from games import IMAGES, Interrupted, Killer, dcgan, train
from safetensors.torch import load_file
from torch import Tensor

from pipeline.contract import MemoryReporter, Networks, World
from pipeline.errors import TrainingFailed
from pipeline.training import beside


def score(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Something that depends on every weight."""
    return {"frechet": float(sum(tensor.double().abs().sum() for tensor in tensors.values())), "recall": 0.5}


def in_step(networks: Networks, world: World) -> dict[str, float]:
    states = {name: network.state_dict() for name, network in networks.items()}
    return score({f"{name}/{key}": tensor for name, state in states.items() for key, tensor in state.items()})


class Helper:
    """Scores a snapshot when waited for, or at once; notes which were asked for."""

    def __init__(self, at_once: Callable[[int], bool] = lambda number: False) -> None:
        self.asked: list[str] = []
        self._at_once = at_once

    def __call__(self, path: Path) -> beside.Wait:
        self.asked.append(path.stem)

        def work() -> None:
            if not beside.answer_of(path).exists():
                beside.write_answer(path, score(load_file(path)))

        if self._at_once(len(self.asked)):
            work()
        return work


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    outcome = train(dcgan(), IMAGES, tmp_path_factory.mktemp("in_step"), scorer=in_step)
    return [dict(record) for record in outcome.history]


@pytest.mark.parametrize("when", ["at once", "at the end", "now and then"])
def test_the_history_is_the_same(when: str, expected: list[dict[str, object]], tmp_path: Path) -> None:
    helper = Helper(lambda number: when == "at once" or (when == "now and then" and number % 2 == 0))
    snapshots = beside.Snapshots(tmp_path / "snapshots", helper)
    outcome = train(dcgan(), IMAGES, tmp_path / "checkpoints", scorer=in_step, snapshots=snapshots)
    assert [list(record.items()) for record in outcome.history] == [list(record.items()) for record in expected]
    assert outcome.scores["frechet"] == expected[-1]["frechet"]
    assert len(helper.asked) == 4
    left = sorted(path.suffix for path in (tmp_path / "snapshots").iterdir())
    assert left == [".json"] * 4, "a snapshot is not kept longer than it is needed"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_killed_run_asks_only_for_what_is_missing(
    at_once: bool, expected: list[dict[str, object]], tmp_path: Path
) -> None:
    """Killed at the third tick, after its snapshot and before its checkpoint."""
    first = Helper(lambda number: at_once)
    with pytest.raises(Interrupted):
        train(
            dcgan(),
            IMAGES,
            tmp_path / "checkpoints",
            reporter=Killer(3),
            snapshots=beside.Snapshots(tmp_path / "snapshots", first),
        )
    assert first.asked == ["000-000000000032", "000-000000000064", "000-000000000096"]
    second = Helper()
    outcome = train(
        dcgan(), IMAGES, tmp_path / "checkpoints", snapshots=beside.Snapshots(tmp_path / "snapshots", second)
    )
    assert [dict(record) for record in outcome.history] == expected
    assert second.asked == (["000-000000000128"] if at_once else [*first.asked, "000-000000000128"])


def test_the_console_shows_a_score_when_it_comes(tmp_path: Path) -> None:
    reporter = MemoryReporter()
    snapshots = beside.Snapshots(tmp_path / "snapshots", Helper(lambda number: number == 1))
    train(dcgan(), IMAGES, tmp_path / "checkpoints", reporter=reporter, snapshots=snapshots)
    shown = [[name for name in tick if name.startswith("frechet")] for tick in reporter.ticks]
    # The first came at once; the others when they were waited for, at the end, each with the examples of its reading.
    assert shown == [["frechet"], [], [], ["frechet", "frechet@64", "frechet@96"]]
    assert reporter.ticks[3]["frechet@64"] != reporter.ticks[3]["frechet"]


def test_a_collapse_is_told_late_but_told(tmp_path: Path) -> None:
    reporter = MemoryReporter()

    def start(path: Path) -> beside.Wait:
        return lambda: beside.write_answer(path, {"frechet": 1.0, "feature_spread": 0.001})

    snapshots = beside.Snapshots(tmp_path / "snapshots", start)
    train(dcgan(), IMAGES, tmp_path / "c", reporter=reporter, snapshots=snapshots, health={"grace": 100})
    assert [note for note in reporter.notes if "collapsed" in note] == [
        "at 128 examples the samples have collapsed: the samples' feature variance is 0.001 of the data's (limit 0.05)"
    ]


def test_a_score_that_never_comes_fails_the_run(tmp_path: Path) -> None:
    snapshots = beside.Snapshots(tmp_path / "snapshots", lambda path: lambda: None)
    with pytest.raises(TrainingFailed, match="the snapshot at 32 examples was not scored"):
        train(dcgan(), IMAGES, tmp_path / "checkpoints", snapshots=snapshots)
