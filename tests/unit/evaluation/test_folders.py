from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.folders import open_folder
from pipeline.settings import UserError


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


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--real .* is empty"):
        open_folder(tmp_path, "--real")
    (tmp_path / "readme.md").write_text("text")
    with pytest.raises(UserError, match=r"holds 1 other file and no images \(1 × \.md\)"):
        open_folder(tmp_path, "--real")
