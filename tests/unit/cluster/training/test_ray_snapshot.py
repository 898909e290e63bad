"""What Ray wrote of a run, torn and mended: Ray's own reader has the last word. In a folder and on a real S3 server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import objects
import pytest
from ray.train import Checkpoint, CheckpointConfig
from ray.train.v2._internal.exceptions import CheckpointManagerInitializationError
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext
from ray.train.v2._internal.execution.training_report import _TrainingReport

from pipeline.cluster.training import ray_snapshot
from pipeline.cluster.training.ray_snapshot import BACKUP, MANIFEST, SNAPSHOT
from pipeline.storage import files
from pipeline.storage.store import Store

RUN = "train-0123456789ab"

pytestmark = pytest.mark.filterwarnings("ignore:The `(json|parse_obj)` method is deprecated")  # Ray's own calls


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with objects.s3() as uri:
        yield uri


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "ray"))
    return Store(str(request.getfixturevalue("bucket")).replace("/runs", f"/{tmp_path.name}"))


@pytest.fixture
def reported(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three checkpoints reported to Ray's own manager, each with a copy of the record; the last waits for its score."""
    manager = opened(store)
    monkeypatch.setattr(manager, "_notify", lambda: None)  # wakes those who wait in the controller's event loop
    back_up = ray_snapshot.backed_up(store.uri, RUN)
    names: list[str] = []
    for number in range(3):
        folder = tmp_path / f"pointer-{number}"
        files.write_json(folder / "snapshot.json", {"snapshot": f"/weights/{number}"})
        ray_snapshot.seal(folder)
        name = f"checkpoint_2026-01-0{number + 1}"
        context = manager._storage_context
        context.storage_filesystem.create_dir(context.build_checkpoint_path_from_name(name))
        checkpoint = context.persist_current_checkpoint(Checkpoint(str(folder)), name)
        back_up.after_report(None, [], checkpoint)  # Ray's order: the manager's own comes first or last, as it likes
        manager.register_checkpoint(
            _TrainingReport(checkpoint=checkpoint, metrics={"score": float(number)}, validation=number == 2)
        )
        names.append(name)
    return names


def opened(store: Store) -> CheckpointManager:
    return CheckpointManager(CheckpointConfig(), StorageContext(store.uri, RUN))


def known(manager: CheckpointManager) -> list[tuple[str, dict[str, Any]]]:
    context = manager._storage_context
    return [
        (context.extract_checkpoint_dir_name_from_path(each.checkpoint.path), each.metrics)
        for each in manager._checkpoint_results
    ]


def mended(store: Store) -> tuple[CheckpointManager, list[str]]:
    notes: list[str] = []
    ray_snapshot.mend(store, RUN, notes.append)
    return opened(store), notes


def latest(manager: CheckpointManager) -> str:
    assert manager.latest_checkpoint_result is not None
    return Path(manager.latest_checkpoint_result.checkpoint.path).name


def tear(store: Store, name: str) -> None:
    store.write_text(f"{RUN}/{name}", store.read_text(f"{RUN}/{name}")[:60])


def refused(store: Store) -> bool:
    """Whether Ray ends a start here."""
    try:
        opened(store)
    except CheckpointManagerInitializationError:
        return True
    return False


def test_a_whole_record_goes_on(store: Store, reported: list[str]) -> None:
    manager, notes = mended(store)
    assert known(manager) == [(name, {"score": float(number)}) for number, name in enumerate(reported)]
    assert (latest(manager), manager._current_report_index, notes) == (reported[2], 3, [])
    assert store.read_text(f"{RUN}/{BACKUP}") == store.read_text(f"{RUN}/{SNAPSHOT}")


def test_nothing_is_scored_twice(store: Store, reported: list[str]) -> None:
    """Ray would score again what waits; the loop asks again for what it lacks, and asks but once."""
    assert len(opened(store).get_pending_training_results()) == 1
    assert mended(store)[0].get_pending_training_results() == {}


def test_a_torn_record_is_rolled_back(store: Store, reported: list[str]) -> None:
    """(b), its first way; the checkpoint that only the torn one named is an orphan then."""
    tear(store, SNAPSHOT)
    assert refused(store)
    manager, notes = mended(store)
    assert known(manager) == [(name, {"score": float(number)}) for number, name in enumerate(reported[:2])]
    assert latest(manager) == reported[1]
    assert notes == ["Ray's record of this run was torn; it was made again from its last copy"]
    assert ray_folders(store) == reported[:2]


def test_a_torn_record_without_a_copy_is_made_of_the_checkpoints(store: Store, reported: list[str]) -> None:
    """(b), its second way: only those that are whole."""
    tear(store, SNAPSHOT)
    tear(store, BACKUP)
    store.write(f"{RUN}/{reported[0]}/snapshot.json", {"snapshot": "another"})
    manager, notes = mended(store)
    assert [name for name, _ in known(manager)] == reported[1:]
    assert (latest(manager), manager._current_report_index) == (reported[2], 2)
    assert notes == ["Ray's record of this run was torn; it was made again from its 2 whole checkpoints"]
    assert ray_folders(store) == reported[1:]


@pytest.mark.parametrize(
    "broken",
    [
        lambda record: record["checkpoint_report_indices"].pop(),
        lambda record: record.update(latest_checkpoint_result={"checkpoint_dir_name": "another", "metrics": {}}),
        lambda record: record.update(checkpoint_results=record["checkpoint_results"][:1] * 3),
        lambda record: record["pending_training_results"][0].update(checkpoint_dir_name="another"),
        lambda record: record.pop("current_report_index"),
        lambda record: record.update(checkpoint_results={}),
    ],
)
@pytest.mark.slow
def test_a_record_that_does_not_add_up_is_one_that_is_torn(
    store: Store, reported: list[str], broken: Callable[[dict[str, Any]], Any]
) -> None:
    """(a): it is JSON, and it would end Ray's start, or mislead it, all the same."""
    record = json.loads(store.read_text(f"{RUN}/{SNAPSHOT}"))
    broken(record)
    store.write(f"{RUN}/{SNAPSHOT}", record)
    manager, notes = mended(store)
    assert [name for name, _ in known(manager)] == reported[:2]
    assert len(notes) == 1


def test_a_checkpoint_that_is_gone_is_dropped(store: Store, reported: list[str]) -> None:
    """(c), its first case: the newest, so that the latest is another."""
    store.sweep(f"{RUN}/{reported[2]}")
    if not store.uri.startswith("s3:"):
        assert refused(store)
    manager, notes = mended(store)
    assert [name for name, _ in known(manager)] == reported[:2]
    assert latest(manager) == reported[1]
    assert notes == [f"Ray's record of this run names what is missing or broken, which was dropped: {reported[2]}"]


@pytest.mark.parametrize("how", ["other bytes", "a file is missing", "its manifest is missing", "a torn manifest"])
def test_a_checkpoint_that_fails_its_manifest_is_dropped(store: Store, reported: list[str], how: str) -> None:
    """(c), its second case: Ray's upload is not atomic, and would be taken as it is."""
    folder = f"{RUN}/{reported[1]}"
    if how == "other bytes":
        store.write(f"{folder}/snapshot.json", {"snapshot": "another"})
    elif how == "a file is missing":
        store.remove(f"{folder}/snapshot.json")
    elif how == "its manifest is missing":
        store.remove(f"{folder}/{MANIFEST}")
    else:
        tear(store, f"{reported[1]}/{MANIFEST}")
    assert not refused(store)
    manager, notes = mended(store)
    assert [name for name, _ in known(manager)] == [reported[0], reported[2]]
    assert (latest(manager), len(notes)) == (reported[2], 1)
    assert ray_folders(store) == [reported[0], reported[2]]


def test_orphans_are_swept(store: Store, reported: list[str]) -> None:
    """(d): checkpoints that no record names, half or whole, and what runs of other names have left."""
    for orphan in ("checkpoint_2026-02-01/snapshot.json", "checkpoint_2026-02-02/manifest.json"):
        store.write(f"{RUN}/{orphan}", {"snapshot": "x"})
    store.write("another-run/checkpoint_1/snapshot.json", {})
    _, notes = mended(store)
    assert ray_folders(store) == reported
    assert store.names("another-run/checkpoint_1") == []
    assert notes == []


def test_nothing_comes_of_nothing(store: Store) -> None:
    notes: list[str] = []
    ray_snapshot.mend(store, RUN, notes.append)
    assert (store.names(RUN), notes) == ([], [])


def test_checkpoints_before_the_first_record_are_orphans(store: Store, reported: list[str]) -> None:
    """Killed between the first upload and the first record."""
    for name in (SNAPSHOT, BACKUP):
        store.remove(f"{RUN}/{name}")
    manager, notes = mended(store)
    assert (known(manager), notes, ray_folders(store)) == ([], [], [])
    assert not store.holds(f"{RUN}/{SNAPSHOT}")


def test_a_record_that_is_gone_is_its_copy(store: Store, reported: list[str]) -> None:
    store.remove(f"{RUN}/{SNAPSHOT}")
    manager, notes = mended(store)
    assert ([name for name, _ in known(manager)], notes) == (reported[:2], [])


def test_everything_lost_is_a_run_without_checkpoints(store: Store, reported: list[str]) -> None:
    for name in (SNAPSHOT, BACKUP):
        tear(store, name)
    for name in reported:
        store.remove(f"{RUN}/{name}/{MANIFEST}")
    manager, notes = mended(store)
    assert (known(manager), manager.latest_checkpoint_result, len(notes)) == ([], None, 1)


def test_mending_twice_changes_nothing(store: Store, reported: list[str]) -> None:
    tear(store, SNAPSHOT)
    mended(store)
    before = store.read_text(f"{RUN}/{SNAPSHOT}")
    assert mended(store)[1] == []
    assert store.read_text(f"{RUN}/{SNAPSHOT}") == before


def test_a_copy_that_cannot_be_made_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "ray").write_text("in the way")
    ray_snapshot.backed_up(str(tmp_path / "ray"), RUN).after_report(None, [], None)


def ray_folders(store: Store) -> list[str]:
    """The checkpoints with something in them: an object store may keep the names of empty folders."""
    return [name for name in store.folders(RUN) if store.names(f"{RUN}/{name}")]
