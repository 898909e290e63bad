from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.cli import main
from pipeline.cli.progress import bars
from pipeline.cli.score import Options, chosen, extractor
from pipeline.errors import UserError

DRAW = np.random.default_rng(0)


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", DRAW.normal(size=(60, 3)))
    np.save(tmp_path / "b.npy", DRAW.normal(1, 1, size=(50, 3)))
    return Path("a.npy"), Path("b.npy")


def zerosum(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["zerosum", *arguments])
    try:
        main.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_json_is_a_list_of_records_and_nothing_else(
    tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zerosum(monkeypatch, "score", "--real", "a.npy", "--fake", "b.npy", "--metrics", "fid,kid", "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in records] == ["frechet_features", "kernel_features"]
    wanted = {"name", "value", "spread", "n_real", "n_fake", "split", "extractor", "resize", "seed", "version"}
    assert wanted <= set(records[0])
    assert records[0]["extractor"] | {"name": "features", "tap": None, "sha256": None} == records[0]["extractor"]


def test_the_table_is_for_people(
    tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zerosum(monkeypatch, "score", "--real", "a.npy", "--fake", "b.npy") == 0
    said = capsys.readouterr().out
    for word in ("frechet_features", "kernel_features", "precision", "coverage", "unequal numbers, 60 and 50"):
        assert word in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--real", "a.npy", "--fake", "no.npy"), "--fake no.npy: there is no such file or folder"),
        (("--real", "a.npy", "--fake", "b.npy", "--metrics", "fod"), "did you mean 'fid'"),
        (("--real", "a.npy", "--fake", "b.npy", "--metrics", "fid", "--splits", "3"), "--splits is a setting of"),
        (("--real", "a.npy", "--fake", "b.npy", "--tap", "65"), "65 is not allowed"),
        (("--real", "a.npy", "--fake", "b.npy", "--size", "8x"), "--size 8x: must be one side of a square"),
        (("--real", "a.npy", "--fake", "b.npy", "--size", "8"), "--size: neither side holds images"),
        (("--real", "a.npy", "--fake", "b.npy", "--extractor", "classifer"), "did you mean 'classifier'"),
    ],
)
def test_mistakes_are_sentences_and_code_2(
    tables: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert zerosum(monkeypatch, "score", *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_the_refusal_of_unlike_sizes_names_the_command_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    for name, shape in (("a", (6, 8)), ("b", (9, 9))):
        (tmp_path / name).mkdir()
        for index in range(12):
            image = Image.fromarray(DRAW.integers(0, 256, shape, dtype=np.uint8))
            image.save(tmp_path / name / f"{index}.png")
    sides = ("score", "--real", str(tmp_path / "a"), "--fake", str(tmp_path / "b"), "--extractor", "random_projection")
    assert zerosum(monkeypatch, *sides, "--metrics", "fid", "--json") == 2
    option = re.search(r"with (--size) (\S+), or", capsys.readouterr().err)
    assert option is not None
    assert zerosum(monkeypatch, *sides, "--metrics", "fid", "--json", *option.groups()) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["settings"] == {"size": "6x8", "size_filter": "bicubic"}


def test_parts_of_the_inception_score_are_shuffled_unless_told_otherwise(
    tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("logits.npy", np.repeat(np.eye(4), 50, axis=0) * 1000)
    found: list[dict[str, Any]] = []
    for options in ((), ("--no-shuffle",)):
        assert zerosum(monkeypatch, "score", "--fake", "logits.npy", "--metrics", "is", "--json", *options) == 0
        found += json.loads(capsys.readouterr().out)
    assert [record["settings"] for record in found] == [
        {"splits": 10, "shuffle": True}, {"splits": 10, "shuffle": False}
    ]  # fmt: skip
    assert found[0]["value"] > 3.5
    assert 1 <= found[1]["value"] < 1.5
    assert [any("class by class" in each for each in record["warnings"]) for record in found] == [False, True]


def test_options_become_settings_of_their_metric() -> None:
    keys = {("inception_score", "splits"): 3, ("kernel", "degree"): 2, ("density_coverage", "k"): None}
    found = chosen(Options(None, "x", metrics=("is", "kid,precision", "recall"), keys=keys, limit=50))
    assert found == [
        {"name": "inception_score", "splits": 3},
        {"name": "kernel", "degree": 2},
        {"name": "precision_recall", "limit": 50},
    ]
    assert {"name": "inception_score", "splits": 10} in chosen(Options(None, "x"))


def test_keys_without_a_name_are_the_inception_network_s() -> None:
    assert extractor(Options(None, "x")) is None
    found = extractor(Options(None, "x", extractor_keys={"tap": 64, "weights": None}))
    assert found == {"name": "inception", "tap": 64}
    with pytest.raises(UserError, match="--tap is no setting of the extractor 'random_projection'"):
        extractor(Options(None, "x", extractor="random_projection", extractor_keys={"tap": 64}))


def test_progress_is_silent_when_short_and_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (True, False):
        with bars(quiet) as make:
            advance = make("real")
            for done in range(0, 300, 64):
                advance(done, 300)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_no_project_is_needed(tables: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    arguments = ["zerosum", "score", "--real", "../a.npy", "--fake", "../b.npy", "--metrics", "fid", "--json"]
    code = f"import sys; sys.argv = {arguments!r}\nfrom pipeline.cli import main; main.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    assert json.loads(done.stdout)[0]["n_fake"] == 50
    assert list(folder.iterdir()) == []
