from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.scoring.folders import open_folder


def write(path: Path, size: tuple[int, int] = (6, 8), grey: bool = False, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 1 if grey else 3)
    x = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(x[:, :, 0] if grey else x).save(path)


def test_images_come_in_the_order_of_their_paths_with_their_classes(tmp_path: Path) -> None:
    for index, name in enumerate(("b/2.png", "a/1.png", "a/0.png")):
        write(tmp_path / name, seed=index)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("not seen")
    found, said = open_folder(tmp_path, "--real")
    assert found.names == ("a/0.png", "a/1.png", "b/2.png")
    assert said == ["--real: 2 other files passed over: 1 × .hidden.png, 1 × .txt"]
    assert found.spec.classes == ("a", "b")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.examples(np.arange(3))["x"].shape == (3, 3, 6, 8)


def test_sizes_may_differ_and_come_apart(tmp_path: Path) -> None:
    write(tmp_path / "0.png", (6, 8))
    write(tmp_path / "1.png", (5, 5))
    write(tmp_path / "2.png", (6, 8), grey=True)
    found, _ = open_folder(tmp_path, "--real")
    assert dict(found.sizes) == {(3, 6, 8): 1, (3, 5, 5): 1, (1, 6, 8): 1}
    x = found.examples(np.arange(3))["x"]
    assert x.dtype == object
    assert [image.shape for image in x] == [(3, 6, 8), (3, 5, 5), (1, 6, 8)]


def test_the_content_is_what_it_is_known_by(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for index in range(3):
            write(tmp_path / folder / f"{'x' if folder == 'two' else ''}{index}.png", seed=index)
    one, two = (open_folder(tmp_path / folder, "--real")[0] for folder in ("one", "two"))
    assert one.sha256 == two.sha256
    write(tmp_path / "two" / "x1.png", seed=9)
    assert open_folder(tmp_path / "two", "--real")[0].sha256 != one.sha256


def test_broken_images_are_named_or_left_out(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path / f"{index}.png", seed=index)
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[:60])
    (tmp_path / "2.png").write_bytes(b"text")
    with pytest.raises(
        UserError, match=r"holds 2 broken images of 4: 1\.png \(damaged.*2\.png \(not an image.*skip-broken"
    ):
        open_folder(tmp_path, "--fake")
    found, said = open_folder(tmp_path, "--fake", skip=True)
    assert found.names == ("0.png", "3.png")
    assert said == ["2 broken images of --fake left out"]


def test_classes_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        write(tmp_path / name / "0.png")
    found, _ = open_folder(tmp_path, "--real")
    assert found.spec.classes == ("1", "2", "10")
    assert found.names == ("1/0.png", "10/0.png", "2/0.png")
    assert found.labels.tolist() == [0, 2, 1]


def test_what_sources_take_is_scored_too(tmp_path: Path) -> None:
    """Files without ending, links beside the folder; our own grid is no sample, and a hidden copy none either."""
    write(tmp_path / "kept" / "cat" / "0.png")
    (tmp_path / "kept" / "cat" / "0.png").rename(tmp_path / "kept" / "cat" / "blob")
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "cat").symlink_to(tmp_path / "kept" / "cat")
    write(tmp_path / "seen" / "cat" / ".ipynb_checkpoints" / "x.png")
    found, said = open_folder(tmp_path / "seen", "--real")
    assert (found.names, found.spec.classes) == (("cat/blob",), ("cat",))
    assert said == ["--real: 1 other file passed over: 1 × .ipynb_checkpoints/"]
    for index in range(3):
        write(tmp_path / "samples" / f"{index:05d}.png", seed=index)
    write(tmp_path / "samples" / "grid.png", (20, 20))
    found, said = open_folder(tmp_path / "samples", "--fake")
    assert len(found) == 3
    assert said == [
        "--fake: 1 other file passed over: 1 × grid.png",
        "--fake: grids that zerosum made show many samples in one picture, and are no samples",
    ]


def test_pipes_and_devices_end_nothing(tmp_path: Path) -> None:
    write(tmp_path / "0.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(
        UserError, match=r"3 broken images of 4: gone\.png \(broken symlink\), pipe\.png \(not a regular"
    ):
        open_folder(tmp_path, "--real")
    found, said = open_folder(tmp_path, "--real", skip=True)
    assert found.names == ("0.png",)
    assert said == ["3 broken images of --real left out"]
    (tmp_path / "0.png").unlink()
    os.mkfifo(tmp_path / "0.png")
    with pytest.raises(UserError, match="changed while it was scored: not a regular file"):
        found.examples(np.arange(1))


def test_skipping_is_not_advised_where_nothing_would_be_left(tmp_path: Path) -> None:
    (tmp_path / "0.png").touch()
    with pytest.raises(UserError, match=r"holds 1 broken image of 1: .*none can be read") as raised:
        open_folder(tmp_path, "--real")
    assert "--skip-broken" not in str(raised.value)


def test_splits_are_scored_and_said(tmp_path: Path) -> None:
    for name in ("val", "train"):
        write(tmp_path / name / "cat" / "0.png")
    found, said = open_folder(tmp_path, "--real")
    assert len(found) == 2
    assert said == [
        "--real holds splits, and all of them are scored together: train (1), val (1); name one of them to score it"
    ]


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--real .* is empty"):
        open_folder(tmp_path, "--real")
    (tmp_path / "readme.md").write_text("text")
    with pytest.raises(UserError, match=r"holds 1 other file and no images \(1 × \.md\)"):
        open_folder(tmp_path, "--real")
