"""Ray Train's own record of a run, made fit to be read again before each start.

<storage>/<run>/checkpoint_manager_snapshot.json      which checkpoints were reported; Ray writes it in place
<storage>/<run>/checkpoint_manager_snapshot.json.bak  as it was at the start, and at each report since
<storage>/<run>/checkpoint_…/manifest.json            the sha256 of each of its files, written last

Ray (2.60) ends every later start of a run whose record a crash has torn, or which names a checkpoint that is gone; and
it never removes one that its record does not name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.storage import files
from pipeline.storage.damage import parse_json
from pipeline.storage.store import Store

SNAPSHOT = "checkpoint_manager_snapshot.json"
BACKUP = f"{SNAPSHOT}.bak"
MANIFEST = "manifest.json"
SHOWN = 3  # names in a note


def mend(store: Store, run: str, note: Callable[[str], None]) -> None:
    """Make what earlier starts of `run` left in `store`, Ray's storage, such that Ray can read it.

    A record that cannot be read is rolled back to its copy, or made again from the checkpoints that are whole. Entries
    whose checkpoint is missing or fails its manifest are dropped, and so is the list of what waits for its score: the
    loop asks again for every score that it lacks. Checkpoints that the record does not name, and what other runs left,
    are removed. `note` is told what was amiss.

    Raises:
        UserError: if the storage does not answer.
    """
    whole = {name for name in store.folders(run) if _is_whole(store, f"{run}/{name}")}
    record = _read(store, f"{run}/{SNAPSHOT}")
    if record is None:
        torn = store.holds(f"{run}/{SNAPSHOT}")
        record, way = _read(store, f"{run}/{BACKUP}"), "its last copy"
        if record is None and torn:
            record, way = _made_of(whole), f"its {len(whole)} whole checkpoints"
        if torn:
            note(f"Ray's record of this run was torn; it was made again from {way}")
    if record is not None:
        gone = sorted(_named(record) - whole)
        if gone:
            more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
            listed = f"{', '.join(gone[:SHOWN])}{more}"
            note(f"Ray's record of this run names what is missing or broken, which was dropped: {listed}")
        record = _without(record, gone)
        for name in (BACKUP, SNAPSHOT):
            store.write_text(f"{run}/{name}", record.model_dump_json())
    _sweep(store, run, _named(record) if record is not None else ())


def backed_up(uri: str, run: str) -> Any:
    """A callback of Ray Train that copies the record at each report: the last whole one, if the next is torn."""
    from ray.train import UserCallback

    class BackUp(UserCallback):
        def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
            # In the process that writes the record, so that it is whole now. A copy that fails costs but itself.
            with contextlib.suppress(UserError, OSError):
                store = Store(uri)
                if _read(store, f"{run}/{SNAPSHOT}") is not None:
                    store.write_text(f"{run}/{BACKUP}", store.read_text(f"{run}/{SNAPSHOT}"))

    return BackUp()


def seal(folder: Path) -> None:
    """Write the manifest of a checkpoint that is to be reported."""
    (folder / MANIFEST).unlink(missing_ok=True)
    found = {path.name: files.sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    files.write_json(folder / MANIFEST, {"files": found})


def _is_whole(store: Store, folder: str) -> bool:
    """Whether a checkpoint holds what its manifest says."""
    try:
        listed = parse_json(store.read_text(f"{folder}/{MANIFEST}"))["files"]
        return bool(listed) and all(
            Path(name).name == name and store.holds(f"{folder}/{name}") and store.sha256(f"{folder}/{name}") == sha256
            for name, sha256 in listed.items()
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def _read(store: Store, name: str) -> Any:
    """A record as Ray will read it, or None where Ray would fail, or there is none."""
    from pydantic import ValidationError

    try:
        record = _form().model_validate_json(store.read_text(name))
    except ValidationError:
        return None
    listed = [each.checkpoint_dir_name for each in record.checkpoint_results]
    latest = record.latest_checkpoint_result
    fits = (
        len(listed) == len(set(listed)) == len(record.checkpoint_report_indices)
        and (latest is None or latest.checkpoint_dir_name in listed)
        and all(each.checkpoint_dir_name in listed for each in record.pending_training_results)
    )
    return record if fits else None


def _named(record: Any) -> set[str]:
    return {each.checkpoint_dir_name for each in record.checkpoint_results}


def _without(record: Any, gone: Collection[str]) -> Any:
    """The record without some checkpoints, and with nothing pending."""
    pairs = zip(record.checkpoint_results, record.checkpoint_report_indices, strict=True)
    kept = [(result, index) for result, index in pairs if result.checkpoint_dir_name not in gone]
    latest = record.latest_checkpoint_result
    if latest is not None and latest.checkpoint_dir_name in gone:
        latest = max(kept, key=lambda pair: pair[1])[0] if kept else None
    return record.model_copy(
        update={
            "checkpoint_results": [result for result, _ in kept],
            "checkpoint_report_indices": [index for _, index in kept],
            "latest_checkpoint_result": latest,
            "pending_training_results": [],
            "pending_validation_specs": [],
        }
    )


def _made_of(checkpoints: Collection[str]) -> Any:
    """A record of these checkpoints, in the order of their names, which are the times of their reports."""
    results = [{"checkpoint_dir_name": name, "metrics": {}} for name in sorted(checkpoints)]
    return _form().model_validate(
        {
            "checkpoint_results": results,
            "checkpoint_report_indices": list(range(len(results))),
            "latest_checkpoint_result": results[-1] if results else None,
            "pending_training_results": [],
            "pending_validation_specs": [],
            "current_report_index": len(results),
            "validated_checkpoint_dir_names": [],
            "timed_out_validation_checkpoint_dir_names": [],
            "failed_validation_checkpoint_dir_names": [],
        }
    )


def _sweep(store: Store, run: str, named: Collection[str]) -> None:
    for name in store.folders(""):
        if name != run:
            store.sweep(name)
    for name in store.folders(run):
        if name not in named:
            store.sweep(f"{run}/{name}")


def _form() -> Any:
    """Ray's own form of the record: what it refuses is what would end a start."""
    from ray.train.v2._internal.execution.checkpoint import checkpoint_manager

    return checkpoint_manager._CheckpointManagerState  # pyright: ignore[reportPrivateUsage]
