"""The search's journal survives a kill at any byte; best.yaml and tables keep exact values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import BrokenArtefact
from pipeline.formats.search import Best, Journal, load_best, save_best, save_table


def entry(trial: str, reading: int, **config: Any) -> dict[str, Any]:
    return {"trial": trial, "reading": reading, "config": config, "score": 1 / 3}


ENTRIES = [entry("a", 0, lr=0.1), entry("b", 0, lr=1e-07), entry("a", 1, lr=0.1), entry("c", 0, lr=2 / 3, depth=[4, 8])]


def write(path: Path) -> Journal:
    journal = Journal(path)
    for each in ENTRIES:
        journal.append(each)
    return journal


def test_what_is_appended_is_read_back_exactly(tmp_path: Path) -> None:
    write(tmp_path / "journal.jsonl")
    assert Journal(tmp_path / "journal.jsonl").entries == ENTRIES


def test_each_line_is_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(ENTRIES[0])
    assert json.loads((tmp_path / "journal.jsonl").read_text()) == ENTRIES[0]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1))
def test_cut_at_any_byte_it_keeps_whole_lines_and_goes_on(tmp_path: Path, share: float) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    write(path)
    whole = path.read_bytes()
    cut = whole[: round(share * len(whole))]
    path.write_bytes(cut)
    journal = Journal(path)
    assert journal.entries == ENTRIES[: cut.count(b"\n")]
    for each in ENTRIES:
        journal.append(each)
    assert path.read_bytes() == whole
    assert Journal(path).entries == ENTRIES


@pytest.mark.parametrize("torn", [b"\x00\x00\x00\n", b'{"trial": "a"', b"[1]\n", b"null\n"])
def test_a_torn_line_and_what_follows_are_cut_off(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert Journal(path).entries == ENTRIES
    assert path.read_bytes() == whole


def test_a_reading_is_journalled_once(tmp_path: Path) -> None:
    journal = write(tmp_path / "journal.jsonl")
    before = journal.path.read_bytes()
    journal.append({**ENTRIES[0], "score": 99.0})
    assert journal.path.read_bytes() == before
    assert len(journal.entries) == len(ENTRIES)


def test_a_journal_that_is_removed_meanwhile_is_written_again_whole(tmp_path: Path) -> None:
    journal = write(tmp_path / "work" / "journal.jsonl")
    whole = journal.path.read_bytes()
    shutil.rmtree(tmp_path / "work")
    journal.append({**ENTRIES[0], "reading": 9})
    assert journal.path.read_bytes().startswith(whole)
    assert Journal(journal.path).entries == journal.entries == [*ENTRIES, {**ENTRIES[0], "reading": 9}]


def test_readings_of_a_trial_by_its_configuration(tmp_path: Path) -> None:
    journal = write(tmp_path / "journal.jsonl")
    assert [each["reading"] for each in journal.of({"lr": 0.1})] == [0, 1]
    assert journal.of({"depth": [4, 8], "lr": 2 / 3}) == [ENTRIES[3]]
    assert journal.of({"lr": 0.2}) == []


def test_best_comes_back_exactly(tmp_path: Path) -> None:
    best = Best({"train.lr": 0.1 + 0.2, "families.dcgan.widths": [4, 8]}, 1 / 3, 2, True, "à propos")
    save_best(tmp_path, best)
    assert load_best(tmp_path) == best
    first = (tmp_path / "best.yaml").read_bytes()
    save_best(tmp_path, best)
    assert (tmp_path / "best.yaml").read_bytes() == first


def test_a_schedule_comes_back_exactly_and_none_leaves_no_trace(tmp_path: Path) -> None:
    schedule = [{"from": 64, "overrides": {"train.lr": 0.1 + 0.2}}, {"from": 128, "overrides": {"train.lr": 1e-07}}]
    best = Best({"train.lr": 0.1}, 1 / 3, 2, schedule=schedule)
    save_best(tmp_path, best)
    assert load_best(tmp_path) == best
    save_best(tmp_path, Best({"train.lr": 0.1}))
    assert "schedule" not in (tmp_path / "best.yaml").read_text()
    assert load_best(tmp_path).schedule == []


@pytest.mark.parametrize(
    "schedule",
    [
        "5",
        "{from: 64, overrides: {}}",
        "[64]",
        "[{from: 64}]",
        "[{from: '64', overrides: {}}]",
        "[{from: true, overrides: {}}]",
        "[{from: 0, overrides: {}}]",
        "[{from: 64, overrides: []}]",
        "[{from: 64, overrides: {}, to: 3}]",
        "[{from: 64, overrides: {}}, {from: 64, overrides: {}}]",
        "[{from: 64, overrides: {}}, {from: 32, overrides: {}}]",
    ],
)
def test_a_schedule_that_is_none_is_refused(schedule: str, tmp_path: Path) -> None:
    save_best(tmp_path, Best({}))
    path = tmp_path / "best.yaml"
    path.write_text(f"{path.read_text()}schedule: {schedule}\n")
    with pytest.raises(BrokenArtefact, match=r"best\.yaml: its schedule must be a list of \{from: examples"):
        load_best(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "format_version: 99"])
def test_a_best_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text(text)
    with pytest.raises(BrokenArtefact, match=r"best\.yaml"):
        load_best(tmp_path)
    with pytest.raises(BrokenArtefact, match="is missing"):
        load_best(tmp_path / "nowhere")


def test_tables_hold_the_union_of_columns_and_exact_numbers(tmp_path: Path) -> None:
    save_table(tmp_path / "t.csv", [{"a": 0.1 + 0.2, "b": 1}, {"a": 1e-07, "c": "x,y"}])
    assert (tmp_path / "t.csv").read_text() == 'a,b,c\n0.30000000000000004,1,\n1e-07,,"x,y"\n'
