"""A member's rounds are one training: whole, in pieces, over another's weights, with checkpoints lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from games import content

from pipeline import params as whole
from pipeline.cluster.search import members
from pipeline.cluster.search.members import ROUND, entry_of, name_of, schedule_of
from pipeline.cluster.search.trial import CLOCK, METRIC, WORST_SCORE
from pipeline.contract import LocalWorld, MemoryReporter
from pipeline.data import packing
from pipeline.data.batches import Reader
from pipeline.errors import BrokenArtefact
from pipeline.experiment import Experiment, fit_and_score
from pipeline.formats.checkpoint import CheckpointStore
from pipeline.formats.shards import Manifest
from pipeline.scoring.reference import measure
from pipeline.storage.store import Store

RATE, GAMMA = "families.dcgan.generator.lr", "families.dcgan.penalties.r1.gamma"
RAW: dict[str, Any] = {
    "ingest": {"source": {"name": "synthetic", "modality": "image", "shape": [1, 8, 8], "examples": 120}},
    "reference": {"extractor": {"name": "random_projection", "dimension": 8}},
    "families": {
        "dcgan": {"preset": "digits", "generator_width": 4, "discriminator_width": 4, "latent": 6, "conditional": False}
    },
    "tune": {
        "trials": 4,
        "mode": "population",
        "examples": 96,
        "interval": 32,
        "space": {RATE: {"loguniform": [1e-4, 1e-2]}, GAMMA: {"uniform": [0.1, 2.0]}},
    },
    "train": {
        "batch_size": 16,
        "tick": 16,
        "checkpoint": 48,
        "grid": 48,
        "examples": 96,
        "score": {"every": 48, "samples": 16},
        "averaging": {"half_life": 50},
    },
    "register": {"metric": "frechet_random_projection"},
}
FIRST, OTHER = {RATE: 1e-3, GAMMA: 1.0}, {RATE: 4e-3, GAMMA: 0.3}
DONOR = [{"from": 0, "member": 1, "settings": FIRST}]
LINE = [*DONOR, {"from": 32, "member": 3, "settings": OTHER}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Shards and reference, as `Experiment` names them."""
    folder = tmp_path_factory.mktemp("data")
    asked = whole.check(RAW)
    shards, reference = folder / "artifacts" / "shards", folder / "artifacts" / "reference"
    packing.ingest(asked.ingest, shards)
    halves = Reader(shards, "train"), Reader(shards, "holdout")
    measure(asked.reference, *halves, reference, Manifest.load(shards).sha256)
    return {
        "shards": str(shards),
        "reference": str(reference),
        "cache": str(folder / "cache"),
        "cache_budget": 2**20,
    }


def setup(data: dict[str, Any], folder: Path, **more: Any) -> dict[str, Any]:
    return {"raw": RAW, "paths": data, "examples": 96, "trials": str(folder / "tune-abc" / "trials"), **more}


def leg(line: list[dict[str, Any]], number: int, arranged: dict[str, Any]) -> dict[str, Any]:
    """What one round comes to."""
    config = {"member": line[-1]["member"], "line": line, ROUND: number, "seen": 32 * number, "unhealthy": {}}
    return entry_of(config, arranged)


def checkpoints(arranged: dict[str, Any], line: list[dict[str, Any]]) -> Path:
    return Path(arranged["trials"]) / name_of(line) / "checkpoints"


@pytest.fixture(scope="module")
def trained(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Any]]:
    """The donor's first round, then two more of the member that took over; and what was told."""
    arranged = setup(data, tmp_path_factory.mktemp("trained"))
    return arranged, [leg(DONOR, 0, arranged), leg(LINE, 1, arranged), leg(LINE, 2, arranged)]


def test_a_round_tells_one_reading(trained: tuple[dict[str, Any], list[Any]]) -> None:
    _, told = trained
    assert [(each["reading"], each[CLOCK], each["status"]) for each in told] == [
        (0, 32, "running"),
        (1, 64, "running"),
        (2, 96, "finished"),
    ]
    assert [each["trial"] for each in told] == [name_of(DONOR), name_of(LINE), name_of(LINE)]
    assert all(0 < each[METRIC] < WORST_SCORE and each["reason"] == "" for each in told)


@pytest.mark.slow
def test_a_training_by_the_schedule_has_the_same_bytes(
    data: dict[str, Any], trained: tuple[dict[str, Any], list[Any]], tmp_path: Path
) -> None:
    """As the train stage does it: other checkpoints, other readings, no search; and beyond the searched length."""
    arranged, told = trained
    params = whole.check(RAW).with_overrides({"tune.space": {}, **FIRST})
    schedule = tuple(
        {"from": entry["from"], "family": params.with_overrides(entry["overrides"]).family}
        for entry in schedule_of(LINE)
    )
    train = params.train.model_dump(mode="json")
    weights = ["networks.safetensors", "averaged.safetensors", "optimisers.safetensors", "state.safetensors"]
    expected = content(checkpoints(arranged, LINE))
    for examples in (96, 192):
        experiment = Experiment(
            {**train, "examples": examples, "keep": 9},
            params.family,
            scratch=str(tmp_path),
            grids=False,
            schedule=schedule,
            **data,
        )
        outcome = fit_and_score(experiment, LocalWorld(), MemoryReporter())
        found = content(tmp_path / "checkpoints", 96)
        assert {name: found[name] for name in weights} == {name: expected[name] for name in weights}
        assert outcome.history[5]["frechet"] == told[-1][METRIC]
    unchanged = Experiment(train, params.family, scratch=str(tmp_path / "plain"), grids=False, **data)
    fit_and_score(unchanged, LocalWorld(), MemoryReporter())
    assert content(tmp_path / "plain" / "checkpoints")[weights[0]] != expected[weights[0]]


@pytest.mark.parametrize("lost", ["nothing", "its own", "the donor's", "both"])
def test_lost_checkpoints_cost_time_and_no_byte(
    lost: str, trained: tuple[dict[str, Any], list[Any]], data: dict[str, Any], tmp_path: Path
) -> None:
    arranged, told = trained
    again = setup(data, tmp_path)
    shutil.copytree(arranged["trials"], again["trials"])
    if lost in ("its own", "both"):
        shutil.rmtree(Path(again["trials"]) / name_of(LINE))
    if lost in ("the donor's", "both"):
        shutil.rmtree(Path(again["trials"]) / name_of(DONOR))
    assert leg(LINE, 2, again) == told[2]
    assert content(checkpoints(again, LINE)) == content(checkpoints(arranged, LINE))


def test_a_torn_checkpoint_of_the_donor_is_not_taken_over(
    trained: tuple[dict[str, Any], list[Any]], data: dict[str, Any], tmp_path: Path
) -> None:
    arranged, told = trained
    again = setup(data, tmp_path)
    shutil.copytree(checkpoints(arranged, DONOR), checkpoints(again, DONOR))
    torn = CheckpointStore(checkpoints(again, DONOR)).numbered()[-1] / "networks.safetensors"
    torn.write_bytes(torn.read_bytes()[:-4])
    left = checkpoints(again, DONOR) / ".000000000048.abc.tmp"
    left.mkdir()
    assert leg(LINE, 1, again) == told[1]
    assert torn.exists(), "the donor may be training, and sees to its own"
    assert left.exists()


def test_the_newest_checkpoint_before_the_change_is_taken_over(
    trained: tuple[dict[str, Any], list[Any]], data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The donor has gone on meanwhile."""
    arranged, told = trained
    again = setup(data, tmp_path)
    shutil.copytree(checkpoints(arranged, DONOR), checkpoints(again, DONOR))
    leg(DONOR, 1, again)
    assert [path.name[-3:] for path in CheckpointStore(checkpoints(again, DONOR)).numbered()] == ["032", "064"]
    begun: list[str] = []
    own = CheckpointStore(checkpoints(again, LINE))
    monkeypatch.setattr(members, "fit_and_score", lambda *args: begun.extend(own.names()) or fit_and_score(*args))
    assert leg(LINE, 1, again) == told[1]
    assert begun == ["000000000032"]


# --- what goes wrong --------------------------------------------------------------------------


def test_a_line_that_came_to_an_end_says_so_again(data: dict[str, Any], tmp_path: Path) -> None:
    ended = {"status": "collapsed", "reason": "the samples are one"}
    config = {"member": 1, "line": DONOR, ROUND: 1, "seen": 25, "unhealthy": ended}
    entry = entry_of(config, setup(data, tmp_path))
    assert (entry["status"], entry["reason"], entry[METRIC], entry[CLOCK]) == (*ended.values(), WORST_SCORE, 25)
    assert not Path(setup(data, tmp_path)["trials"]).exists()


def test_what_the_settings_cause_is_a_bad_score(data: dict[str, Any], tmp_path: Path) -> None:
    wild = [{"from": 0, "member": 1, "settings": {RATE: 1e30, GAMMA: 1.0}}]
    entry = leg(wild, 0, setup(data, tmp_path))
    assert (entry["status"], entry[METRIC]) == ("failed", WORST_SCORE)
    assert "is not finite at" in entry["reason"]
    wrong = [{"from": 0, "member": 1, "settings": {RATE: -1.0, GAMMA: 1.0}}]
    entry = leg(wrong, 0, setup(data, tmp_path))
    assert entry["status"] == "refused"
    assert RATE in entry["reason"]


def test_broken_data_is_no_bad_score(data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the journal it would outlive the mending."""

    def fail(*_: Any) -> Any:
        raise BrokenArtefact("shard 3 is damaged")

    monkeypatch.setattr(members, "fit_and_score", fail)
    with pytest.raises(BrokenArtefact):
        leg(DONOR, 0, setup(data, tmp_path))


# --- with an object store -----------------------------------------------------------------------


def test_rounds_on_different_machines_meet_in_the_store(
    trained: tuple[dict[str, Any], list[Any]], data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round finds nothing of the others on its own machine."""
    store = Store(str(tmp_path / "store"))
    root = Path(data["shards"]).parents[1]
    paths = {**data, "store": store.uri, "inputs": store.push(root, ["artifacts/shards", "artifacts/reference"])}
    _, told = trained
    arranged = setup(paths, tmp_path)
    begun: list[int] = []

    def counted(experiment: Experiment, *others: Any) -> Any:
        begun.append(int((experiment.here().checkpoints().names() or ["0"])[-1]))
        return fit_and_score(experiment, *others)

    monkeypatch.setattr(members, "fit_and_score", counted)
    for number, line in enumerate((DONOR, LINE, LINE)):
        monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / f"machine{number}"))
        assert leg(line, number, arranged) == told[number]
    assert begun == [0, 32, 64]
    kept = sorted(path.name for path in (tmp_path / "store" / "runs" / "tune-abc").iterdir())
    assert kept == sorted([name_of(DONOR), name_of(LINE)])
    members.clear_mirrors(arranged, kept)
    left = [path for path in (tmp_path / "store" / "runs").rglob("*") if path.is_file()]
    assert left == []
