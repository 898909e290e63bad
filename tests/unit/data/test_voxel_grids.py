"""Grids of voxels as files hold them, and the source that reads folders of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import notes, packing, preview, voxels
from pipeline.data.batches import Reader
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources.voxel_folder import Config, Source
from pipeline.errors import Rejected, SettingsError

MOST = 10**6
GRID = np.random.default_rng(0).integers(0, 2, (4, 6, 8)).astype(bool)


def npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def binvox(grid: Any) -> bytes:
    """(x, y, z) as Min's format has it: runs of at most 255 cells, y moving fastest, then z."""
    cells = np.asarray(grid).transpose(0, 2, 1).reshape(-1).astype(np.uint8)
    ends = np.append(np.flatnonzero(np.diff(cells)) + 1, len(cells))
    runs, begin = bytearray(), 0
    for end in ends:
        while begin < end:
            count = min(255, end - begin)
            runs += bytes([cells[begin], count])
            begin += count
    sides = grid.shape[0], grid.shape[2], grid.shape[1]
    header = "#binvox 1\ndim {} {} {}\ntranslate 0 0 0\nscale 1\ndata\n".format(*sides)
    return header.encode() + bytes(runs)


def opened(folder: Path, **keys: Any) -> Source:
    source = Source(Config(folder=str(folder), **keys))
    source.check()
    return source


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.npy", npy(GRID)),
        ("a.npy", npy(GRID.astype(np.uint8))),
        ("a.npy", npy(GRID.astype(np.uint8) * 255)),
        ("a.npy", npy(GRID[None].astype(np.float32))),
        ("a.npy", npy(np.asfortranarray(GRID))),
        ("a.npz", npz(voxels=GRID)),
        ("a.npz", npz(voxels=GRID.astype(np.int64), name=np.array(["x"]))),
        ("a.binvox", binvox(GRID)),
        ("without_ending", binvox(GRID)),
    ],
)
def test_each_form_holds_the_same_grid(name: str, data: bytes) -> None:
    found = voxels.decode(data, name, MOST, "voxels" if b"name" in data else None)
    np.testing.assert_array_equal(voxels.occupancy(found, MOST), GRID * np.uint8(255))


def test_bits_are_the_cells_of_a_cube() -> None:
    cube = np.random.default_rng(1).integers(0, 2, (8, 8, 8)).astype(bool)
    np.testing.assert_array_equal(voxels.occupancy(np.packbits(cube), MOST), cube * np.uint8(255))
    assert [voxels.cube(stored) for stored in (1, 8, 64, 4096, 63, 0)] == [2, 4, 8, 32, 0, 0]
    with pytest.raises(Rejected, match="no cube"):
        voxels.occupancy(np.zeros(63, np.uint8), MOST)


def test_parts_of_a_cell_are_kept_in_255_steps_and_a_threshold_decides() -> None:
    levels = np.array([0, 0.25, 0.5, 1.0]).reshape(1, 2, 2)
    assert voxels.occupancy(levels, MOST).flatten().tolist() == [0, 64, 128, 255]
    assert voxels.occupancy(levels, MOST, 0.3).flatten().tolist() == [0, 0, 255, 255]
    assert voxels.occupancy(levels * 100 - 40, MOST, 5.0).flatten().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((2, 2, 2), np.nan), "not finite"),
        (np.full((2, 2, 2), np.inf), "not finite"),
        (np.full((2, 2, 2), 1.5), "values beyond 0 and 1"),
        (np.full((2, 2, 2), -1), "values beyond 0 and 1"),
        (np.array([0, 1, 255, 0, 0, 0, 0, 0], np.uint8).reshape(2, 2, 2), "values beyond 0 and 1"),
        (np.zeros((2, 2)), "no grid"),
        (np.zeros((3, 2, 2, 2)), "no grid"),
        (np.zeros((0, 2, 2)), "no grid"),
        (np.zeros((2, 2, 2), complex), "no grid"),
        (np.zeros((101, 100, 100), bool), "too many cells"),
    ],
)
def test_what_is_no_occupancy_is_rejected(values: Any, reason: str) -> None:
    with pytest.raises(Rejected) as found:
        voxels.occupancy(values, MOST)
    assert found.value.reason == reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.npy", npy(np.array([{}], dtype=object)), "damaged grid"),
        ("a.npy", npy(GRID)[:-5], "damaged grid"),
        ("a.npy", b"", "damaged grid"),
        ("a.npy", npy(np.zeros(9 * MOST, np.uint8))[:400], "damaged grid"),
        ("a.npz", npz(a=GRID, b=GRID), "several arrays"),
        ("a.npz", npz(), "no array"),
        ("a.npz", npz(a=np.zeros(9 * MOST, np.uint8)), "damaged grid"),
        ("a.npz", npz(a=GRID)[:-30], "damaged grid"),
        ("a.binvox", binvox(GRID)[:-2], "damaged grid"),
        ("a.binvox", binvox(GRID) + b"\1", "damaged grid"),
        ("a.binvox", binvox(GRID) + b"\1\1", "damaged grid"),
        ("a.binvox", b"#binvox 1\n", "damaged grid"),
        ("a.binvox", b"#binvox 1\ndim 2 2\ndata\n\0\4", "damaged grid"),
        ("a.binvox", b"#binvox 1\ndim 2 2 -2\ndata\n\0\4", "damaged grid"),
        ("a.binvox", b"#binvox 1\ndim 0 2 2\ndata\n", "no cells"),
        ("a.binvox", b"#binvox 1\ndim 1 2 2\ndata\n\2\4", "damaged grid"),
        ("a.binvox", b"#binvox 1\ndim 4000 4000 4000\ndata\n\0\1", "too many cells"),
        ("a.binvox", b"#binvox 1\ndim " + b"9" * 5000 + b" 1 1\ndata\n", "damaged grid"),
    ],
)
def test_damaged_and_hostile_files_are_rejected(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as found:
        voxels.decode(data, name, MOST)
    assert found.value.reason == reason


def test_coarser_cells_are_the_largest_or_the_mean_of_their_blocks() -> None:
    grid = np.zeros((4, 4, 2), np.uint8)
    grid[0, 0, 0] = 255
    assert voxels.pooled(grid, (2, 2, 1), "max").tolist() == [[[255], [0]], [[0], [0]]]
    assert voxels.pooled(grid, (2, 2, 1), "mean")[0, 0, 0] == 32  # 255 / 8, rounded
    assert voxels.pooled(grid, (4, 4, 2), "max") is grid
    with pytest.raises(Rejected, match="another resolution"):
        voxels.pooled(grid, (3, 4, 2), "max")
    with pytest.raises(Rejected, match="another resolution"):
        voxels.pooled(grid, (8, 8, 4), "max")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, data in (("chair/a.npy", npy(GRID)), ("chair/b.binvox", binvox(~GRID)), ("desk 10/a.npz", npz(x=GRID))):
        path = tmp_path / "grids" / label
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "grids/desk 10/notes.txt").write_text("x")
    (tmp_path / "grids/desk 10/bad.npy").write_bytes(npy(np.zeros((2, 2))))
    return tmp_path / "grids"


def test_a_folder_of_classes(folder: Path) -> None:
    source = opened(folder)
    assert source.classes() == ("chair", "desk 10")
    assert source.native_shape() == (1, 4, 6, 8)
    assert [(entry.key, entry.label) for entry in source.entries()] == [
        ("chair/a.npy", "chair"),
        ("chair/b.binvox", "chair"),
        ("desk 10/a.npz", "desk 10"),
        ("desk 10/bad.npy", "desk 10"),
    ]
    assert source.passed_over() == (("desk 10/notes.txt", "no voxel grid"),)
    for entry, grid in zip(source.entries(), (GRID, ~GRID, GRID), strict=False):
        np.testing.assert_array_equal(source.read(entry, Limits()), grid[None] * np.uint8(255))


def test_labels_of_a_csv(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nchair/a.npy,one\nchair/b.binvox,two\ndesk 10/a.npz,one\n")
    source = opened(folder, labels=str(tmp_path / "labels.csv"))
    assert source.classes() == ("one", "two")
    found = [(entry.label, entry.problem) for entry in source.entries()]
    assert found == [("one", None), ("two", None), ("one", None), (None, ("no label in the csv", ""))]


def test_packed_grids_are_bytes_that_batches_show_as_full_and_empty(folder: Path, tmp_path: Path) -> None:
    source = {"name": "voxel_folder", "folder": str(folder), "resolution": [2, 3, 4], "pool": "mean"}
    settings = IngestSettings(source=source, max_rejected_fraction=0.5, holdout_fraction=0)
    manifest = packing.ingest(settings, tmp_path / "shards")
    assert manifest.rejects == {"no grid": 1}
    assert (manifest.spec.modality, manifest.spec.shape, manifest.spec.dtype) == ("voxels", (1, 2, 3, 4), "uint8")
    x = Reader(tmp_path / "shards", "train").examples(np.arange(3))["x"]
    assert x.dtype == np.uint8
    batch = manifest.spec.x.tensor(x)
    assert -1 <= float(batch.min()) < float(batch.max()) <= 1
    assert manifest.spec.x.tensor(np.array([0, 255], np.uint8)).tolist() == [-1, 1]
    foretold = preview.preflight(settings)
    assert foretold.spec(1) == manifest.spec


def test_an_empty_grid_is_used_and_noted(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(np.zeros((2, 2, 2), bool)))
    source = opened(tmp_path)
    with notes.collected() as left:
        source.read(source.entries()[0], Limits())
    assert [note.kind for note in left] == [notes.EMPTY]
    assert "1 of 1 items has no full cell" in notes.sentences(notes.counted([("a.npy", left[0])], 1), "shards")[0]


def test_one_npz_of_classes(tmp_path: Path) -> None:
    cubes = np.random.default_rng(2).integers(0, 2, (3, 4, 4, 4)).astype(bool)
    path = tmp_path / "all.npz"
    packed = np.packbits(cubes.reshape(3, -1), axis=1)
    path.write_bytes(npz(desk10=packed, desk2=cubes[:2], about=np.zeros(3), objects=np.array([{}], dtype=object)))
    source = opened(path)
    assert source.classes() == ("desk2", "desk10")
    assert [entry.key for entry in source.entries()] == [
        *("desk2/000000", "desk2/000001"),
        *("desk10/000000", "desk10/000001", "desk10/000002"),
    ]
    assert source.passed_over() == (("about", "no array of grids"),)
    assert source.native_shape() == (1, 4, 4, 4)
    for entry, cube in zip(source.entries(), [*cubes[:2], *cubes], strict=True):
        np.testing.assert_array_equal(source.read(entry, Limits()), cube[None] * np.uint8(255))
    assert opened(path, labels="none").classes() == ()
    assert {entry.label for entry in opened(path, labels="none").entries()} == {None}


def test_an_npz_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "all.npz"
    path.write_bytes(npz(a=np.zeros((1, 64), np.uint8)))
    for keys, key in (({"labels": "labels.csv"}, "labels"), ({"max_unpacked_bytes": 63}, "max_unpacked_bytes")):
        with pytest.raises(SettingsError, match=rf"ingest\.source\.{key}: "):
            opened(path, **keys)
    for data in (npz(a=np.zeros(4)), npz(), b"PK", npz(a=GRID)[:-9]):
        path.write_bytes(data)
        with pytest.raises(SettingsError, match=r"ingest\.source\.folder: .*all\.npz"):
            opened(path)


def test_another_array_where_several_are_held(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npz(one=GRID, other=~GRID))
    source = opened(tmp_path, array="other")
    np.testing.assert_array_equal(source.read(source.entries()[0], Limits())[0], ~GRID * np.uint8(255))
    assert opened(tmp_path).native_shape() is None
