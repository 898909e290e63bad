from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import plugins
from pipeline.cli import generate as work
from pipeline.cli import main
from pipeline.errors import UserError
from pipeline.formats.model import ModelCard, save_model
from pipeline.sampling.samples import open_model
from pipeline.scoring.folders import open_folder
from pipeline.types import DataSpec

CLASSES = ("1", "10", "2", "cat")
ALL = work.SampleRequest(0, 1.0)


def publish(folder: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    spec = DataSpec("image", (1, 8, 8), classes)
    torch.manual_seed(0)
    family = plugins.load("families", {"name": "gan", "latent": 8, "conditional": bool(classes)})
    card = ModelCard("gan", family.config.model_dump(mode="json"), spec, ("generator",), 64, 1, 0, True, {}, {})
    save_model(folder, card, {"generator": family.build(spec)["generator"].state_dict()})
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "model")
    return "model"


def zerosum(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["zerosum", "generate", *arguments])
    try:
        main.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    ("request_", "indices"),
    [
        (work.SampleRequest(0, 1.0, ("2",)), [2, 2, 2]),
        (work.SampleRequest(0, 1.0, ("10", "cat")), [1, 3, 1]),
        (work.SampleRequest(0, 1.0, indices=(3, 1)), [3, 1, 3]),
        (ALL, [0, 1, 2]),
    ],
)
def test_a_class_is_asked_for_by_its_name_or_by_an_index_as_such(
    model: str, request_: work.SampleRequest, indices: list[int]
) -> None:
    work.generate(model, Path("out"), 3, request_)
    source, _ = open_model(Path(model))
    drawn = source.sample(3, np.array(indices))
    assert all(np.array_equal(pixels(Path(f"out/{index:05d}.png")), drawn[index, 0]) for index in range(3))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--label", "3"),
            "--label: '3' is no class; the classes are 1, 10, 2, cat; for the class at index 3, 'cat', ",
        ),
        (("--label", "cat", "--label", "0"), "'1', write --label-index 3 --label-index 0\n"),
        (("--label", "dog"), "--label: 'dog' is no class; the classes are 1, 10, 2, cat\n"),
        (("--label-index", "4"), "--label-index is 4, which is no index of a class; the 4 classes are 0 … 3: 1, 10,"),
        (("--label-index", "-1"), "--label-index is -1, which is no index"),
        (("--label", "cat", "--label-index", "0"), "by name or by index, not both"),
        (("--grid", "g.png", "--no-grid"), "--grid and --no-grid: give one of them"),
        (("--grid", "g.jpg"), "--grid g.jpg must be the name of a PNG file, such as g.png"),
        (("--grid", "out/g.png"), "--grid out/g.png lies among the samples"),
        (("--grid", "model/../out/more/g.png"), "lies among the samples"),
        (("--truncation", "inf"), "--truncation inf must be a finite number"),
    ],
)
def test_mistakes_are_told_before_anything_is_drawn(
    model: str,
    arguments: tuple[str, ...],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def drawn(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked to draw")

    monkeypatch.setattr("pipeline.sampling.samples.SampleSource.sample", drawn)
    assert zerosum(monkeypatch, "--model", model, "--out", "out", "--n", "2", *arguments) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.err.count("\n") == 1
    assert not Path("out").exists()


def test_a_model_without_classes_knows_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish(tmp_path / "model", ())
    for request, asked in (
        (work.SampleRequest(0, 1.0, ("1",)), "--label"),
        (work.SampleRequest(0, 1.0, (), (0,)), "--label-index"),
    ):
        with pytest.raises(UserError, match=f"{asked}: this model is unconditional"):
            work.generate("model", Path("out"), 1, request)


@pytest.mark.parametrize(
    ("out", "grid"),
    [
        ("out", "out-grid.png"),
        ("out/", "out-grid.png"),
        ("./deep/er/", "deep/er-grid.png"),
        ("here/..", "../{here}-grid.png"),
        (".", "../{here}-grid.png"),
        ("a.b", "a.b-grid.png"),
    ],
)
def test_the_grid_lies_beside_the_folder(model: str, out: str, grid: str, tmp_path: Path) -> None:
    Path("here").mkdir()
    written = work.generate(str(Path(model).resolve()), Path(out), 3, ALL)
    place = (tmp_path / grid.format(here=tmp_path.name)).resolve()
    assert written.grid is not None
    assert written.grid.resolve() == place
    assert place.is_file()
    assert sorted(path.name for path in Path(out).glob("*.png")) == ["00000.png", "00001.png", "00002.png"]
    place.unlink()


def test_the_grid_of_an_absolute_folder_and_of_a_link(model: str, tmp_path: Path) -> None:
    assert work.generate(model, tmp_path / "out", 2, ALL).grid == tmp_path / "out-grid.png"
    (tmp_path / "far" / "kept").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "kept")
    assert work.generate(model, Path("link"), 2, ALL).grid == tmp_path / "link-grid.png"


def test_another_place_for_the_grid_or_none(model: str, tmp_path: Path) -> None:
    assert work.generate(model, Path("out"), 2, ALL, Path("seen/all.png")).grid == tmp_path / "seen/all.png"
    first = (tmp_path / "seen/all.png").read_bytes()
    assert work.generate(model, Path("out"), 2, ALL, with_grid=False).grid is None
    assert not list(tmp_path.glob("*.png"))
    work.generate(model, Path("other"), 2, ALL)
    assert (tmp_path / "other-grid.png").read_bytes() == first
    (tmp_path / "blocked").write_text("")
    with pytest.raises(UserError, match=r"the grid .*blocked/g\.png cannot be written .* --no-grid"):
        work.generate(model, Path("third"), 2, ALL, Path("blocked/g.png"))
    assert not Path("third").exists()


def test_samples_are_all_that_a_reader_of_the_folder_finds(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert zerosum(monkeypatch, "--model", model, "--out", "out", "--n", "5") == 0
    said = capsys.readouterr().out
    assert said == f"5 samples in {tmp_path / 'out'}, a grid of them at {tmp_path / 'out-grid.png'}\n"
    assert len(open_folder(Path("out"), "--fake")[0]) == 5
    Path("out/grid.png").write_bytes(b"old")
    assert zerosum(monkeypatch, "--model", model, "--out", "out", "--n", "3", "--no-grid") == 0
    said = capsys.readouterr().out
    assert said == (
        f"3 samples in {tmp_path / 'out'}\nit also holds 2 samples of an earlier run\n"
        "it also holds grid.png, a grid of an earlier run, which is no sample: remove it\n"
    )
    assert Path("out/grid.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("family", "spec", "ends"),
    [
        ("gan3d", DataSpec("voxels", (1, 8, 8, 8), (), "uint8"), (".npz", ".obj")),
        ("vgan", DataSpec("video", (3, 8, 8, 8), (), "uint8"), (".webp",)),
    ],
)
def test_volumes_and_videos_are_files_that_other_programs_open(
    family: str, spec: DataSpec, ends: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    design = plugins.load("families", {"name": family, "preset": "smoke"})
    card = ModelCard(family, design.config.model_dump(mode="json"), spec, ("generator",), 64, 1, 0, True, {}, {})
    save_model(tmp_path / "model", card, {"generator": design.build(spec)["generator"].state_dict()})
    written = work.generate("model", Path("out"), 2, ALL)
    assert sorted(path.name for path in Path("out").iterdir()) == [f"0000{n}{end}" for n in (0, 1) for end in ends]
    assert written.grid is not None
    assert pixels(written.grid).ndim in (2, 3)
    drawn = open_model(Path("model"))[0].sample(2)
    if family == "gan3d":
        held = np.load("out/00001.npz")["occupancy"]
        assert np.array_equal(np.rint(held * 255), drawn[1, 0])
    else:
        with Image.open("out/00001.webp") as film:
            film.seek(7)
            assert np.array_equal(np.asarray(film.convert("RGB")), drawn[1, :, 7].transpose(1, 2, 0))
