"""Labels in files' names, and numbers cut into bands: which class a file has, and why it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.sources import _bands
from pipeline.data.sources.image_folder import Config, Source
from pipeline.errors import SettingsError
from pipeline.settings import validate

AGES = (0, 19, 30, 40, 50, 60)
IN_NAME = r"(?P<label>[^_]+)_.*"


def opened(folder: Path, **keys: Any) -> Source:
    source = Source(validate(Config, {"folder": str(folder), **keys}, "ingest.source"))
    source.check()
    return source


def labels(source: Source) -> dict[str, str]:
    return {entry.key: entry.problem[0] if entry.problem else str(entry.label) for entry in source.entries()}


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_ages_in_names_become_ordered_bands(tmp_path: Path) -> None:
    folder = touched(
        tmp_path, "0_a.png", "18_a.png", "018.5_a.png", "19_a.png", "60_a.png", "116_a.png",
        "-1_a.png", "old_a.png", "nan_a.png", f"{'9' * 230}_a.png", "a.png",
    )  # fmt: skip
    source = opened(folder, label_pattern=IN_NAME, bands=AGES)
    assert source.classes() == ("0-18", "19-29", "30-39", "40-49", "50-59", "60+")
    assert labels(source) == {
        "0_a.png": "0-18",
        "18_a.png": "0-18",
        "018.5_a.png": "0-18",
        "19_a.png": "19-29",
        "60_a.png": "60+",
        "116_a.png": "60+",
        "-1_a.png": "outside the bands",
        "old_a.png": "no number as its label",
        "nan_a.png": "no number as its label",
        f"{'9' * 230}_a.png": "60+",
        "a.png": "no label in the name",
    }


def test_ages_may_stand_in_a_csv_or_name_folders(tmp_path: Path) -> None:
    folder = touched(tmp_path / "faces", "5/a.png", "35/b.png", "x/c.png")
    assert labels(opened(folder, bands=(0, 30))) == {
        "5/a.png": "0-29",
        "35/b.png": "30+",
        "x/c.png": "no number as its label",
    }
    (tmp_path / "ages.csv").write_text("file,label\n5/a.png,64\n35/b.png,\n9/z.png,3\n")
    found = labels(opened(folder, bands=(0, 30), labels=str(tmp_path / "ages.csv")))
    assert found == {
        "5/a.png": "30+",
        "35/b.png": "no label in the csv",
        "9/z.png": "missing file",
        "x/c.png": "no label in the csv",
    }


def test_a_pattern_alone_names_classes_in_natural_order(tmp_path: Path) -> None:
    source = opened(touched(tmp_path, "10_a.png", "2_b.png", "q.png"), label_pattern=IN_NAME)
    assert source.classes() == ("2", "10")
    assert labels(source) == {"10_a.png": "10", "2_b.png": "2", "q.png": "no label in the name"}


@pytest.mark.parametrize(
    ("bounds", "names"),
    [((0, 1, 30), ("0", "1-29", "30+")), ((0, 0.5, 2), ("0-0.5", "0.5-2", "2+")), ((-5, 5), ("-5-4", "5+"))],
)
def test_bands_are_called_by_their_bounds(bounds: tuple[float, ...], names: tuple[str, ...]) -> None:
    assert _bands.names(bounds) == names


def test_what_is_not_set_is_not_described(tmp_path: Path) -> None:
    folder = touched(tmp_path, "1_a.png", "40_b.png")
    assert not {"bands", "label_pattern"} & opened(folder).describe().keys()
    found = opened(folder, label_pattern=IN_NAME, bands=(0, 30)).describe()
    assert (found["bands"], found["label_pattern"]) == ([0, 30], IN_NAME)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"bands": [0]}, r"ingest\.source\.bands: "),
        ({"bands": [0, 30, 30]}, "each above the one before"),
        ({"bands": [0, 30], "labels": "none"}, "labels is none"),
        ({"bands": [0, 30]}, "nothing is labelled"),
        ({"bands": [100, 200], "label_pattern": IN_NAME}, r"no label is a number of 100 or above, such as '1'"),
        ({"label_pattern": "("}, "is no pattern"),
        ({"label_pattern": "[0-9]+"}, "needs a group"),
        ({"label_pattern": "(?P<label>x)"}, "it fits no file's name"),
        ({"label_pattern": IN_NAME, "labels": "none"}, "labels says 'none' already"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        opened(touched(tmp_path, "1_a.png", "40_b.png"), **keys)
