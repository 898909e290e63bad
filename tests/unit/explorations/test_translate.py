"""`explore translate`: folders of pictures of any size, what is written beside them, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import plugins
from pipeline.cli.explore import explore
from pipeline.contract import AnyFamily
from pipeline.data import derived
from pipeline.data.settings import IngestSettings
from pipeline.errors import SettingsError, UserError
from pipeline.formats.model import ModelCard, save_model
from pipeline.sampling.samples import open_model
from pipeline.types import Array, DataSpec, FieldSpec, like_x

LOW = FieldSpec.usual("low", "image", (3, 4, 4))
SPECS = {
    "srgan": DataSpec("image", (3, 16, 16), fields=(LOW,)),
    "pix2pix": DataSpec("image", (3, 16, 16), fields=like_x({"pair": (1, 16, 16)})),
    "cyclegan": DataSpec("image", (3, 16, 16), fields=like_x({"unpaired": (3, 16, 16)})),
    "cut": DataSpec("image", (3, 16, 16), fields=like_x({"unpaired": (3, 16, 16)})),
    "dcgan": DataSpec("image", (3, 16, 16)),
}


def model(folder: Path, name: str, spec: DataSpec | None = None) -> str:
    """A published model of the design's smallest preset, not trained."""
    keys = {"conditional": False} if name == "dcgan" else {}
    family: AnyFamily = plugins.load("families", {"name": name, "preset": "smoke", **keys})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        built = family.build(spec or SPECS[name])
    states = {each: built[each].state_dict() for each in family.averaged}
    card = ModelCard(
        name, family.config.model_dump(mode="json"), spec or SPECS[name], family.averaged, 0, 0, 0, True, {}, {}
    )
    save_model(folder, card, states)
    return str(folder)


def picture(path: Path, height: int, width: int, channels: int = 3) -> Array:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)
    return pixels


def read(path: Path) -> Array:
    return np.asarray(Image.open(path))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    picture(folder / "a.png", 5, 9)
    picture(folder / "a.jpg", 21, 17)
    picture(folder / "more" / "grey.png", 40, 33, 1)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "README").write_text("not a picture")
    return folder


@pytest.mark.parametrize(("name", "scale"), [("srgan", 4), ("pix2pix", 1), ("cyclegan", 1), ("cut", 1)])
def test_every_picture_of_a_folder_is_translated_at_its_own_size(
    tmp_path: Path, pictures: Path, name: str, scale: int
) -> None:
    out = tmp_path / "out"
    explore(model(tmp_path / "model", name), "translate", out, [f"images={pictures}", "tile=16", "overlap=6"])
    record = json.loads((out / "explore.json").read_text())
    assert [(each["image"], each["size"]) for each in record["pictures"]] == [
        ("a.jpg", [21, 17]), ("a.png", [5, 9]), ("more/grey.png", [40, 33]),
    ]  # fmt: skip
    assert [each["image"] for each in record["rejected"]] == ["broken.png"]
    for each in record["pictures"]:
        height, width = each["size"]
        made = read(out / each["output"])
        assert made.shape == (scale * height, scale * width, 3)
        assert each["output"].startswith("translated/")
        assert [height * scale, width * scale] == each["output_size"]
    assert record["settings"]["tile"] == 16
    assert len({each["output"] for each in record["pictures"]}) == 3
    again = tmp_path / "again"
    explore(str(tmp_path / "model"), "translate", again, [f"images={pictures}", "tile=16", "overlap=6"])
    for each in record["pictures"]:
        assert (again / each["output"]).read_bytes() == (out / each["output"]).read_bytes()


def test_a_picture_of_the_data_s_size_becomes_the_sample(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "low.png", 4, 4)
    folder = model(tmp_path / "model", "srgan")
    explore(folder, "translate", tmp_path / "out", [f"images={tmp_path / 'low.png'}"])
    source, _ = open_model(Path(folder))
    low = LOW.tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
    condition: Any = {"low": low}
    expected = source.family.sample(source.networks, {}, condition)[0].add(1).mul(127.5).round().byte()
    assert np.array_equal(read(tmp_path / "out/translated/low.png"), expected.permute(1, 2, 0).numpy())


@pytest.mark.slow
def test_a_panorama_of_12000_pixels_is_made_of_tiles(tmp_path: Path) -> None:
    picture(tmp_path / "wide.png", 100, 12_000)
    explore(model(tmp_path / "model", "pix2pix"), "translate", tmp_path / "out", [f"images={tmp_path / 'wide.png'}"])
    (told,) = json.loads((tmp_path / "out/explore.json").read_text())["pictures"]
    assert told["tiles"] == [1, 27]
    assert read(tmp_path / "out/translated/wide.png").shape == (100, 12_000, 3)


def test_models_and_files_that_cannot_be_are_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UserError, match="translate: dcgan makes no image from an image"):
        explore(model(tmp_path / "dcgan", "dcgan"), "translate", tmp_path / "out", [f"images={pictures}"])
    folder = model(tmp_path / "srgan", "srgan")
    with pytest.raises(UserError, match="there is nothing at"):
        explore(folder, "translate", tmp_path / "out", [f"images={tmp_path / 'nowhere'}"])
    with pytest.raises(UserError, match=r"broken\.png"):
        explore(folder, "translate", tmp_path / "out", [f"images={pictures / 'broken.png'}"])
    with pytest.raises(SettingsError, match="tile"):
        explore(folder, "translate", tmp_path / "out", [f"images={pictures}", "tile=0"])
    explore(folder, "translate", tmp_path / "small", [f"images={pictures}", "max_pixels=50"])
    found = json.loads((tmp_path / "small/explore.json").read_text())
    assert [each["image"] for each in found["pictures"]] == ["a.png"]
    assert sorted(each["image"] for each in found["rejected"]) == ["a.jpg", "broken.png", "more/grey.png"]
    explore(folder, "translate", tmp_path / "few", [f"images={pictures}", "max_bytes=400"])
    told = json.loads((tmp_path / "few/explore.json").read_text())["rejected"]
    assert any("bytes" in each["reason"] for each in told)


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(clear).save(buffer, "PNG")
    (tmp_path / "clear.png").write_bytes(buffer.getvalue())
    picture(tmp_path / "white.png", 4, 4)
    Image.fromarray(np.full((4, 4, 3), 255, np.uint8)).save(tmp_path / "white.png")
    folder = model(tmp_path / "model", "srgan")
    made = []
    for name in ("clear", "white"):
        explore(folder, "translate", tmp_path / name, [f"images={tmp_path / name}.png"])
        made.append(read(tmp_path / name / "translated" / f"{name}.png"))
    assert np.array_equal(*made)


def test_label_maps_are_read_by_number_and_unknown_classes_are_rejected(tmp_path: Path) -> None:
    ingest = IngestSettings(derive={"pair": {"name": "one_hot", "of": "map", "classes": 4}})
    stored = FieldSpec.usual("map", "mask", (1, 16, 16))
    spec = DataSpec("image", (3, 16, 16), fields=(stored, *derived.fields(ingest.derive, [stored])))
    folder = model(tmp_path / "model", "pix2pix", spec)
    maps = tmp_path / "maps"
    maps.mkdir()
    numbers = np.random.default_rng(0).integers(0, 4, (16, 16), np.uint8)
    Image.fromarray(numbers).save(maps / "a.png")
    Image.fromarray(numbers + 3).save(maps / "b.png")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(maps / "c.png")
    explore(folder, "translate", tmp_path / "out", [f"images={maps}", "truncation=0"])
    record = json.loads((tmp_path / "out/explore.json").read_text())
    assert [each["image"] for each in record["pictures"]] == ["a.png"]
    assert [each["reason"].split(":")[0] for each in record["rejected"]] == ["unknown class", "no label map"]
    source, _ = open_model(Path(folder))
    planes = torch.nn.functional.one_hot(torch.from_numpy(numbers).long(), 4).permute(2, 0, 1).float()[None]
    condition: Any = {"pair": planes}
    latents = {"dropout": source.latents(0, 0)["dropout"][:1]}
    expected = source.family.sample(source.networks, latents, condition, 0.0)[0].add(1).mul(127.5).round().byte()
    assert np.array_equal(read(tmp_path / "out/translated/a.png"), expected.permute(1, 2, 0).numpy())


def test_an_analogy_by_translation_says_how_it_does_on_the_given_pair(tmp_path: Path) -> None:
    folder = model(tmp_path / "model", "pix2pix")
    paths = {name: tmp_path / f"{name}.png" for name in ("a", "a_prime", "b")}
    pixels = {name: picture(path, 16, 16, 1 if name != "a_prime" else 3) for name, path in paths.items()}
    explore(folder, "analogy", tmp_path / "out", [f"{name}={path}" for name, path in paths.items()])
    record = json.loads((tmp_path / "out/explore.json").read_text())
    assert record["by"] == "translation"
    source, _ = open_model(Path(folder))
    latents = {"dropout": source.latents(0, 0)["dropout"][:1]}
    condition: Any = {"pair": like_x({"pair": (1, 16, 16)})[0].tensor(pixels["a"].transpose(2, 0, 1)[None].copy())}
    made = source.family.sample(source.networks, latents, condition)[0].add(1).mul(127.5).round().permute(1, 2, 0)
    apart = np.sqrt(((made.detach().numpy() - pixels["a_prime"]) ** 2).mean())
    copied = np.sqrt(((pixels["a"].astype(float) - pixels["a_prime"]) ** 2).mean())
    assert record["of_the_given_pair"]["translation_in_grey_levels"] == pytest.approx(apart, abs=0.01)
    assert record["of_the_given_pair"]["copying_in_grey_levels"] == pytest.approx(copied)
    assert (tmp_path / "out/analogy.png").is_file()
    with pytest.raises(UserError, match="there is no picture"):
        explore(folder, "analogy", tmp_path / "no", [f"a={paths['a']}", "a_prime=nowhere", f"b={paths['b']}"])
