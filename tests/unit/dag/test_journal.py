"""The lines that a job leaves in the store while it works."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipeline.dag import journal
from pipeline.errors import UserError
from pipeline.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def kept(store: Store) -> list[str]:
    return [json.loads(line)["kind"] for line in store.read_text(journal.name("job-1")).splitlines()]


def test_a_stage_that_is_no_jobs_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(journal.PLACE, raising=False)
    journal.tell("tick", {"examples_seen": 1})
    monkeypatch.setenv(journal.PLACE, str(tmp_path / "journal.jsonl"))
    journal.tell("tick", {"examples_seen": 2, "loss": float("nan")})
    (line,) = (tmp_path / "journal.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert found["values"]["examples_seen"] == 2
    assert found["values"]["loss"] != found["values"]["loss"]
    assert abs(found["at"] - time.time()) < 60


def test_it_arrives_as_it_grows_and_whole(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "EVERY", 0.02)
    path = tmp_path / "journal.jsonl"
    journal.write(path, "job", job="job-1")
    with journal.sent(store, path, "job-1"):
        journal.write(path, "tick", values={})
        end = time.monotonic() + 20
        while len(kept(store)) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert kept(store) == ["job", "tick"], "before the job has ended"
        monkeypatch.setattr(journal, "EVERY", 1000.0)
        journal.write(path, "end", code=0)
    assert kept(store) == ["job", "tick", "end"]
    assert store.read_text(journal.name("job-2")) == ""


def test_a_store_that_does_not_take_it_costs_the_metrics_alone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Store, name: str, text: str) -> None:
        raise UserError("run.storage: does not answer")

    monkeypatch.setattr(Store, "write_text", refused)
    path = tmp_path / "journal.jsonl"
    journal.write(path, "job", job="job-1")
    with journal.sent(store, path, "job-1"):
        pass
    monkeypatch.undo()
    assert kept(store) == []
