from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources.parquet import Config, Source
from pipeline.errors import Rejected, SettingsError, UserError

Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unpacked"


@pytest.fixture
def pictures(noise: Noise, png: Png) -> list[bytes]:
    return [png(noise(number)) for number in range(6)]


def hub(
    pictures: list[bytes | None], labels: list[Any], names: list[str] | None = None, key: str = "label"
) -> pa.Table:
    """As the hub's library writes it."""
    held = [None if each is None else {"bytes": each, "path": f"{number}.png"} for number, each in enumerate(pictures)]
    table = pa.table({"image": pa.array(held, STRUCT), key: labels})
    described: dict[str, Any] = {"image": {"_type": "Image"}}
    if names:
        described[key] = {"_type": "ClassLabel", "names": names}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": described}})})


def written(path: Path, table: pa.Table, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **options)
    return path


def opened(path: Path, **settings: Any) -> Source:
    source = Source(Config(path=str(path), **settings))
    source.check()
    return source


def read(source: Source) -> dict[str, tuple[str | None, bytes | str]]:
    found: dict[str, tuple[str | None, bytes | str]] = {}
    for entry in source.entries():
        try:
            if entry.problem:
                raise Rejected(*entry.problem)
            found[entry.key] = (entry.label, source.fetch(entry, Limits()))
        except Rejected as error:
            found[entry.key] = (None, error.reason)
    return found


@pytest.mark.parametrize("options", [{}, {"row_group_size": 2}, {"use_dictionary": False, "compression": "zstd"}])
def test_a_file_of_the_hub(options: dict[str, Any], pictures: list[bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", hub(pictures, [0, 1, 0, -1, 5, None], ["cat", "dog"]), **options)
    source = opened(path)
    assert source.classes() == ("cat", "dog")
    assert read(source) == {
        "x/0000000": ("cat", pictures[0]),
        "x/0000001": ("dog", pictures[1]),
        "x/0000002": ("cat", pictures[2]),
        "x/0000003": (None, "no label in the row"),
        "x/0000004": (None, "unknown label"),
        "x/0000005": (None, "no label in the row"),
    }


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes_and_labels_of_text(kind: Any, pictures: list[bytes], tmp_path: Path) -> None:
    table = pa.table(
        {"data": pa.array(pictures, kind), "Label": ["b10", "b9", "", None, "b9", "a\x1b[2J"], "n": range(6)}
    )
    source = opened(written(tmp_path / "x.parquet", table))
    assert source.classes() == ("a\\x1b[2J", "b9", "b10")
    assert [entry.label for entry in source.entries()] == ["b10", "b9", None, None, "b9", "a\\x1b[2J"]
    assert [source.fetch(entry, Limits()) for entry in source.entries()] == pictures


def test_rows_without_an_image_and_large_ones(pictures: list[bytes], tmp_path: Path) -> None:
    table = hub([None, pictures[1], bytes(10_000)], [1, 1, 1])
    nothing = pa.array([{"bytes": None, "path": "a.png"}], STRUCT)
    table = pa.concat_tables([table, pa.table({"image": nothing, "label": [1]})])
    source = opened(written(tmp_path / "x.parquet", table), label="none")
    assert source.classes() == ()
    reasons: list[str] = []
    for entry in source.entries():
        try:
            source.fetch(entry, Limits(max_bytes=9_999))
            reasons.append("")
        except Rejected as error:
            reasons.append(error.reason)
    assert reasons == ["no image in the row", "", "too many bytes", "no image in the row"]


def test_files_are_read_in_their_natural_order(pictures: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    for number in (10, 2):
        written(folder / f"train-{number}.parquet", hub(pictures[:2], [number, number]))
    (folder / "README.md").write_text("x")
    source = opened(folder)
    assert [entry.key for entry in source.entries()] == [
        "train-2/0000000",
        "train-2/0000001",
        "train-10/0000000",
        "train-10/0000001",
    ]
    assert source.classes() == ("2", "10")
    assert source.passed_over() == (("README.md", "no parquet file"),)
    one = opened(folder, pattern="train-10*")
    assert one.classes() == ("10",)
    assert one.passed_over() == (("README.md", "no parquet file"), ("train-2.parquet", "not named by the pattern"))
    with pytest.raises(SettingsError, match=r"ingest\.source\.pattern"):
        opened(folder, pattern="val*")


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (("data/test-00000-of-00001", "data/train-00000-of-00001"), "pattern: data/train* "),
        (("default/validation/0000", "default/train/0000"), "pattern: default/train* "),
    ],
)
def test_splits_are_refused(names: tuple[str, ...], advice: str, pictures: list[bytes], tmp_path: Path) -> None:
    for name in names:
        written(tmp_path / "hub" / f"{name}.parquet", hub(pictures, list(range(6))))
    with pytest.raises(SettingsError) as raised:
        opened(tmp_path / "hub")
    assert advice in str(raised.value)
    pattern = advice.partition(": ")[2].strip()
    assert len(opened(tmp_path / "hub", pattern=pattern).entries()) == 6


def test_which_columns(pictures: list[bytes], tmp_path: Path) -> None:
    table = pa.table(
        {"a": pictures, "b": pictures, "fine_label": range(6), "coarse_label": range(6), "rate": [0.5] * 6}
    )
    described = {key: {"_type": "ClassLabel", "names": list("uvwxyz")} for key in ("fine_label", "coarse_label")}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": described}})})
    path = written(tmp_path / "x.parquet", table)
    for settings, problem in (
        ({}, r"ingest\.source\.image: .*a, b"),
        ({"image": "a"}, r"ingest\.source\.label: .*fine_label, coarse_label"),
        ({"image": "c"}, r"ingest\.source\.image: .*'c'"),
        ({"image": "a", "label": "rate"}, r"ingest\.source\.label: .*'rate'"),
    ):
        with pytest.raises(SettingsError, match=problem):
            opened(path, **settings)
    assert opened(path, image="b", label="fine_label").classes() == tuple("uvwxyz")
    nothing = written(tmp_path / "y.parquet", pa.table({"n": [1], "deep": [[b"x"]]}))
    with pytest.raises(SettingsError, match=r"ingest\.source\.image"):
        opened(nothing)


def test_files_with_other_columns_are_refused(pictures: list[bytes], tmp_path: Path) -> None:
    written(tmp_path / "hub" / "0.parquet", hub(pictures, [0] * 6, ["cat", "dog"]))
    written(tmp_path / "hub" / "1.parquet", hub(pictures, [0] * 6, ["dog", "cat"]))
    with pytest.raises(SettingsError, match=r"ingest\.source\.path: 0\.parquet and 1\.parquet"):
        opened(tmp_path / "hub")


def test_one_value_that_every_row_names_is_kept_once(tmp_path: Path, cache: Path, noise: Noise, png: Png) -> None:
    picture = png(noise(1, 200, 200))
    path = written(tmp_path / "x.parquet", pa.table({"image": [picture] * 64}))
    source = opened(path)
    assert source.fetch(source.entries()[40], Limits()) == picture
    (kept,) = [each for each in cache.iterdir() if each.suffix != ".lock"]
    assert kept.stat().st_size < 2 * len(picture)


def test_a_file_of_more_than_is_allowed(pictures: list[bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", hub(pictures, [0] * 6))
    with pytest.raises(UserError, match="max_items"):
        opened(path, max_items=5)
    source = opened(path, max_unpacked_bytes=300)
    with pytest.raises(UserError, match="max_unpacked_bytes"):
        source.fetch(source.entries()[5], Limits())


@pytest.mark.parametrize("cut", [4, 100, -10])
def test_files_that_are_cut_short(cut: int, pictures: list[bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", hub(pictures, [0] * 6))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="no whole parquet file"):
        opened(path)


def test_it_is_packed(pictures: list[bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "x.parquet", hub(pictures, [0, 1] * 3, ["cat", "dog"]))
    settings = IngestSettings(source={"name": "parquet", "path": str(path)}, holdout_fraction=0.3)
    manifest = packing.ingest(settings, tmp_path / "shards")
    assert manifest.spec.classes == ("cat", "dog")
    assert sum(split.examples for split in manifest.splits.values()) == 6
