from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from pipeline.data import voxels
from pipeline.sampling import pictures, volumes

ONE = np.zeros((3, 4, 5), dtype=bool)
ONE[1, 2, 3] = True
DRAWN = np.random.default_rng(0).integers(0, 2, (4, 5, 6)).astype(bool)


def test_a_cell_has_six_faces_seen_from_outside() -> None:
    corners, normals = volumes.faces(ONE)
    assert sorted(map(tuple, normals.tolist())) == sorted(
        [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    )
    assert {tuple(each) for face in corners.tolist() for each in face} == {
        (x, y, z) for x in (1, 2) for y in (2, 3) for z in (3, 4)
    }


def test_faces_close_the_volume() -> None:
    """The divergence theorem: (1/3) Σ area · normal · place is the number of full cells, and normals turn outwards."""
    corners, normals = volumes.faces(DRAWN)
    assert np.array_equal(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]), normals)
    assert (corners.mean(axis=1) * normals).sum() / 3 == pytest.approx(DRAWN.sum())
    padded = np.pad(DRAWN, 1)
    assert len(corners) == sum(int((np.diff(padded.astype(int), axis=axis) != 0).sum()) for axis in range(3))


def test_a_mesh_shares_its_corners() -> None:
    lines = volumes.obj(ONE).decode().splitlines()
    assert [line[0] for line in lines] == ["v"] * 8 + ["f"] * 6
    assert {int(number) for line in lines[8:] for number in line.split()[1:]} == set(range(1, 9))
    assert volumes.obj(np.zeros((2, 2, 2), bool)) == b"\n"


def test_views_show_the_nearest_cell_brightest_and_the_last_axis_upwards() -> None:
    seen = volumes.views(ONE.astype(float))
    assert seen.shape == (1, 5, 3 + 4 + 3)
    front, side, above = seen[0, :, :3], seen[0, :, 3:7], seen[0, :, 7:]
    assert np.argwhere(front).tolist() == [[1, 1]]  # place 3 of 5 in height, 1 of 3 across
    assert np.argwhere(side).tolist() == [[1, 2]]
    assert np.count_nonzero(above) == 1
    stacked = np.zeros((2, 2, 3))
    stacked[0, 0, 0] = stacked[1, 0, 2] = 1
    seen_above = volumes.views(stacked)[0, -2:, -2:]
    assert sorted(seen_above[seen_above > 0].tolist()) == [round(255 * volumes.FAR), 255]


def test_a_turn_shows_the_cell_from_all_sides_in_the_middle() -> None:
    cube = np.ones((2, 2, 2), dtype=bool)
    turn = volumes.turning(cube, side=40)
    assert len(turn) == volumes.TURNS
    assert np.array_equal(turn[0], turn[3]), "a quarter of a turn shows a cube as it was"
    assert not np.array_equal(turn[0], turn[1])
    for picture in turn:
        rows, columns = np.nonzero(picture != volumes.GROUND)
        assert abs((rows.min() + rows.max()) / 2 - 20) <= 1
        assert abs((columns.min() + columns.max()) / 2 - 20) <= 1
    assert all((picture == volumes.GROUND).all() for picture in volumes.turning(np.zeros((2, 2, 2), bool), 8))


def test_what_is_written_is_read_as_the_same_grid() -> None:
    stored = np.random.default_rng(1).integers(0, 256, (1, 3, 4, 5), dtype=np.uint8)
    found = pictures.as_files(stored, "voxels")
    assert set(found) == {".npz", ".obj"}
    assert found == pictures.as_files(stored, "voxels")
    again = voxels.occupancy(voxels.decode(found[".npz"], "x.npz", 1000), 1000)
    assert np.array_equal(again, stored[0])
    floats = stored.astype(np.float32) / 127.5 - 1
    assert pictures.as_files(floats, "voxels")[".obj"] == found[".obj"]


def test_a_volume_is_an_animated_picture() -> None:
    data = pictures.animation(ONE[None].astype(np.float32) * 2 - 1, "voxels")
    assert data == pictures.animation(ONE[None] * np.uint8(255), "voxels")
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        assert len(list(ImageSequence.Iterator(picture))) == volumes.TURNS


def test_a_video_is_written_frame_by_frame_without_loss() -> None:
    x = np.random.default_rng(2).integers(0, 256, (3, 4, 8, 6), dtype=np.uint8)
    (data,) = pictures.as_files(x, "video").values()
    for form, held in (("WEBP", data), ("PNG", pictures.animation(x, "video"))):
        with Image.open(io.BytesIO(held)) as picture:
            assert picture.format == form
            assert len(list(ImageSequence.Iterator(picture))) == 4
            for number in range(4):
                picture.seek(number)
                assert np.array_equal(np.asarray(picture.convert("RGB")), x[:, number].transpose(1, 2, 0))


def test_other_samples_are_in_no_such_file() -> None:
    with pytest.raises(ValueError, match="no file holds rows"):
        pictures.as_files(np.zeros(3), "rows")
