"""To resume is to run the same command again: the unbroken run's bytes, however it was broken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from games import (
    EACH_GAME,
    GAMES,
    IMAGES,
    ROWS,
    Interrupted,
    Killer,
    Scalars,
    Scores,
    content,
    dcgan,
    number,
    sgd,
    sick,
    slope,
    toy,
    train,
)

from pipeline.contract import MemoryReporter, Phase
from pipeline.errors import TrainingFailed
from pipeline.formats import checkpoint
from pipeline.formats.checkpoint import CheckpointStore

TICKS = 4  # of 32 examples: 2 steps


class Whole:
    """Each game unbroken, played when it is first asked for; toy's curriculum turns over in the middle."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._folders: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        if name not in self._folders:
            make, spec = GAMES[name]
            self._folders[name] = self._factory.mktemp(name)
            train(make(), spec, self._folders[name])
        return self._folders[name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory)


def test_a_machine_that_is_taken_away_loses_no_more_than_a_tick(whole: Whole, tmp_path: Path) -> None:
    """Notice comes between two checkpoints; the machine is gone at the tick after."""
    answers = iter([False, True])
    reporter = Killer(3)
    with pytest.raises(Interrupted):
        train(dcgan(), IMAGES, tmp_path, reporter=reporter, leaving=lambda: next(answers), checkpoint=128)
    assert [path.name for path in CheckpointStore(tmp_path).numbered()] == ["000000000064"]
    assert "preemption notice: saving a checkpoint at 64 examples" in reporter.notes
    again = MemoryReporter()
    train(dcgan(), IMAGES, tmp_path, reporter=again, checkpoint=128)
    assert again.notes[0] == "going on from the checkpoint at 64 examples"
    assert content(tmp_path) == content(whole["dcgan"])


@pytest.mark.parametrize("name", EACH_GAME)
@pytest.mark.parametrize("left", range(TICKS))
def test_resuming_from_any_checkpoint(name: str, left: int, whole: Whole, tmp_path: Path) -> None:
    """All is dropped but `left` checkpoints; the last is after the curriculum's change in one game."""
    make, spec = GAMES[name]
    kept = CheckpointStore(whole[name]).numbered()[:left]
    for path in kept:
        shutil.copytree(path, tmp_path / path.name)
    reporter = MemoryReporter()
    outcome = train(make(), spec, tmp_path, reporter=reporter)
    assert content(tmp_path) == content(whole[name])
    assert len(outcome.history) == len({record["examples_seen"] for record in outcome.history})
    assert outcome.state.examples_seen >= 128
    assert bool(left) == any("going on from the checkpoint" in note for note in reporter.notes)


@pytest.mark.parametrize("name", EACH_GAME)
def test_killed_at_every_tick(name: str, whole: Whole, tmp_path: Path) -> None:
    """Before each checkpoint in turn: what was done since the last is done again."""
    make, spec = GAMES[name]
    ticks = len(CheckpointStore(whole[name]).numbered())
    for _ in range(ticks):
        for death in (1, 2):
            try:
                train(make(), spec, tmp_path, reporter=Killer(death))
            except Interrupted:
                continue
    train(make(), spec, tmp_path)
    assert content(tmp_path) == content(whole[name])


def test_the_curriculum_did_change(whole: dict[str, Path]) -> None:
    segments = [checkpoint.load(path).state["segment"] for path in CheckpointStore(whole["toy"]).numbered()]
    assert segments[0] == 0
    assert segments[-1] == 1


def test_raising_examples_goes_on_with_a_finished_run(whole: dict[str, Path], tmp_path: Path) -> None:
    train(dcgan(), IMAGES, tmp_path, examples=64)
    reporter = MemoryReporter()
    train(dcgan(), IMAGES, tmp_path, reporter=reporter)
    assert [record["examples_seen"] for record in reporter.ticks] == [96, 128]
    assert content(tmp_path) == content(whole["dcgan"])


def test_lowering_examples_gives_what_a_short_run_would(tmp_path: Path) -> None:
    train(dcgan(), IMAGES, tmp_path / "long")
    outcome = train(dcgan(), IMAGES, tmp_path / "long", examples=64)
    short = train(dcgan(), IMAGES, tmp_path / "short", examples=64)
    assert outcome.state.examples_seen == 64
    assert outcome.history == short.history
    assert content(tmp_path / "long", 64) == content(tmp_path / "short")
    again = train(dcgan(), IMAGES, tmp_path / "long")
    assert again.state.examples_seen == 128


def three_batches_a_step() -> Scalars:
    phases = (Phase("a", "a", slope("a"), repeats=3),)
    return Scalars({"a": sgd()}, phases)


def test_a_finished_run_that_overshot_is_finished(tmp_path: Path) -> None:
    """Steps of 48 examples end beyond 64; the run to 64 is done, and one to 96 is what it was."""
    first = train(three_batches_a_step(), ROWS, tmp_path, examples=64)
    assert first.state.examples_seen == 96
    reporter = MemoryReporter()
    again = train(three_batches_a_step(), ROWS, tmp_path, examples=64, reporter=reporter)
    assert (again.state.examples_seen, reporter.ticks) == (96, [])
    assert train(three_batches_a_step(), ROWS, tmp_path, examples=96).state.examples_seen == 96
    assert train(three_batches_a_step(), ROWS, tmp_path, examples=32).state.examples_seen == 48


def best_of(folder: Path, *frechet: float, **keys: Any) -> Any:
    return train(dcgan(), IMAGES, folder, publish="best", scorer=Scores(*frechet), **keys)


def test_the_best_scored_average_is_published(tmp_path: Path) -> None:
    outcome = best_of(tmp_path, 9.0, 2.0, 3.0, 4.0)
    short = train(dcgan(), IMAGES, tmp_path / "short", examples=64)
    assert outcome.state.examples_seen == 64
    assert len(outcome.history) == TICKS, "the history is the whole run's"
    expected = short.networks["generator"].state_dict()
    found = outcome.networks["generator"].state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert best_of(tmp_path).state.examples_seen == 64, "a finished run publishes the same again"


def test_only_a_checkpoints_own_score_makes_it_the_best(tmp_path: Path) -> None:
    """Scored at 32, 64, 96, 128; saved at 64 and 128: the reading at 32 is nobody's."""
    assert best_of(tmp_path, 1.0, 5.0, 2.0, 4.0, checkpoint=64).state.examples_seen == 128


def test_a_best_beyond_the_asked_length_is_not_published(tmp_path: Path) -> None:
    best_of(tmp_path, 9.0, 5.0, 3.0, 2.0)
    assert best_of(tmp_path, 9.0, 5.0, examples=64).state.examples_seen == 64
    assert best_of(tmp_path, 3.0, 2.0).state.examples_seen == 128


def test_a_broken_best_is_made_anew(tmp_path: Path) -> None:
    best_of(tmp_path, 9.0, 2.0, 3.0, 4.0)
    (tmp_path / "best" / "averaged.safetensors").write_bytes(b"torn")
    assert best_of(tmp_path, 9.0, 2.0, 3.0, 4.0).state.examples_seen == 64


# --- broken checkpoints -----------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def missing(path: Path) -> None:
    path.unlink()


FILES = ["networks.safetensors", "averaged.safetensors", "optimisers.safetensors", "state.json", "history.jsonl"]


@pytest.mark.parametrize("damage", [cut, flip, missing])
@pytest.mark.parametrize("file", [*FILES, "state.safetensors", "manifest.json"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(
    damage: Any, file: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    for path in CheckpointStore(whole["dcgan"]).numbered()[:2]:
        shutil.copytree(path, tmp_path / path.name)
    damage(tmp_path / "000000000064" / file)
    reporter = MemoryReporter()
    store = CheckpointStore(tmp_path)
    found = store.latest(reporter.note)
    if (file, damage) == ("manifest.json", flip) and found == store.path(64):
        return  # white space: the same manifest
    assert found == store.path(32)
    assert reporter.notes[0].startswith("checkpoint 000000000064 is broken (")
    assert reporter.notes[0].endswith("going back to the one before")


def test_a_run_goes_on_from_the_one_before(whole: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(whole["dcgan"], tmp_path / "run")
    for number_ in (96, 128):
        cut(tmp_path / "run" / f"{number_:012d}" / "networks.safetensors")
    reporter = MemoryReporter()
    train(dcgan(), IMAGES, tmp_path / "run", reporter=reporter)
    assert [note.split(" ")[0] for note in reporter.notes] == ["checkpoint", "checkpoint", "going"]
    assert content(tmp_path / "run") == content(whole["dcgan"])


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"format_version": 7}', "", '{"format_version": 1}'])
def test_a_manifest_that_is_none(text: str, whole: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(whole["dcgan"] / "000000000032", tmp_path / "000000000032")
    (tmp_path / "000000000032" / "manifest.json").write_text(text)
    assert CheckpointStore(tmp_path).latest(MemoryReporter().note) is None


def test_an_interrupted_save_leaves_no_half_checkpoint(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at each write of a save in turn: the error comes through, the folder is as before, a rerun ends."""
    shutil.copytree(whole["dcgan"] / "000000000032", tmp_path / "000000000032")
    save, saved = checkpoint.save_file, 0

    def full(*arguments: Any) -> None:
        nonlocal saved
        saved += 1
        if saved == 3:
            raise OSError(28, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        train(dcgan(), IMAGES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["000000000032"]
    monkeypatch.undo()
    train(dcgan(), IMAGES, tmp_path)
    assert content(tmp_path) == content(whole["dcgan"])


def test_what_a_killed_save_left_is_swept(whole: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(whole["dcgan"] / "000000000032", tmp_path / "000000000032")
    shutil.copytree(whole["dcgan"] / "000000000064", tmp_path / ".000000000064.0a1b2c3d.tmp")
    assert CheckpointStore(tmp_path).latest(MemoryReporter().note) == tmp_path / "000000000032"
    assert [path.name for path in tmp_path.iterdir()] == ["000000000032"]


def test_only_so_many_are_kept(tmp_path: Path) -> None:
    train(dcgan(), IMAGES, tmp_path, keep=2)
    assert [path.name for path in CheckpointStore(tmp_path).numbered()] == ["000000000096", "000000000128"]


# --- NaN --------------------------------------------------------------------------------------


def ill(healthy_from: int, after: int = 70) -> Scalars:
    return Scalars({"a": sgd()}, (Phase("play", "a", sick("a", after, healthy_from)),))


def test_nan_goes_back_to_the_checkpoint_with_another_attempt(tmp_path: Path) -> None:
    reporter = MemoryReporter()
    outcome = train(ill(healthy_from=2), ROWS, tmp_path, reporter=reporter)
    assert outcome.state.attempt == 2
    assert [record["attempt"] for record in outcome.history] == [0, 0, 2, 2]
    assert [note for note in reporter.notes if "back to" in note] == [
        "play/total (and first of the weights a/weight) is not finite; back to 64 examples, attempt 1",
        "play/total (and first of the weights a/weight) is not finite; back to 64 examples, attempt 2",
    ]
    assert number(outcome.networks["a"]).isfinite().all()


def test_nan_before_any_checkpoint_begins_anew(tmp_path: Path) -> None:
    outcome = train(ill(healthy_from=1, after=0), ROWS, tmp_path)
    assert [record["attempt"] for record in outcome.history] == [1, 1, 1, 1]
    assert outcome.state.step == 8


def test_returns_are_bounded_and_the_failure_names_phase_and_tensor(tmp_path: Path) -> None:
    reporter = MemoryReporter()
    with pytest.raises(TrainingFailed, match=r"play/total .*a/weight.* is not finite .* after 2 returns"):
        train(ill(healthy_from=99), ROWS, tmp_path, health={"rollbacks": 2}, reporter=reporter)
    assert len([note for note in reporter.notes if "back to" in note]) == 2


def test_another_attempt_draws_other_noise(tmp_path: Path) -> None:
    """Half of what is drawn decides the weights: after a return they differ from the run without one."""

    def noisy(turn: Any) -> dict[str, Any]:
        total = (number(turn.networks["a"]) * turn.latents["z"].mean()).sum()
        ill_now = turn.state.examples_seen > 70 and turn.state.attempt < self_heals
        return {"total": total * float("nan") if ill_now else total}

    self_heals = 1
    broken = train(Scalars({"a": sgd()}, (Phase("play", "a", noisy),)), ROWS, tmp_path / "broken")
    self_heals = 0
    smooth = train(Scalars({"a": sgd()}, (Phase("play", "a", noisy),)), ROWS, tmp_path / "smooth")
    assert broken.history[:2] == smooth.history[:2]
    assert broken.history[2]["play/total"] != smooth.history[2]["play/total"]


def test_a_killed_run_meets_its_nan_and_its_attempt_again(tmp_path: Path) -> None:
    train(ill(healthy_from=1), ROWS, tmp_path / "whole")
    for death in (3, 2, 1):
        with pytest.raises(Interrupted):
            train(ill(healthy_from=1), ROWS, tmp_path / "killed", reporter=Killer(death))
    train(ill(healthy_from=1), ROWS, tmp_path / "killed")
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_infinity_counts_as_nan(tmp_path: Path) -> None:
    def huge(turn: Any) -> dict[str, Any]:
        return {"total": number(turn.networks["a"]).sum() * (1e30 if turn.state.attempt else float("inf"))}

    outcome = train(Scalars({"a": sgd(1e-30)}, (Phase("play", "a", huge),), start=1.0), ROWS, tmp_path)
    assert outcome.state.attempt == 1


def test_pools_of_lanes_are_kept(whole: dict[str, Path]) -> None:
    saved = checkpoint.load(CheckpointStore(whole["toy"]).numbered()[-1])
    pool = saved.tensors["state"]["lanes/pool"]
    assert pool.shape == (4, 4, ROWS.size)
    assert pool.abs().sum() > 0
    assert saved.tensors["state"]["state/turns"].item() == saved.state["step"]
    assert toy().lane_state(ROWS, 4)["pool"].shape == (4, ROWS.size)
