from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import plugins
from pipeline.cli import explore as work
from pipeline.cli import generate as generating
from pipeline.cli import main
from pipeline.data import kinds, listing
from pipeline.errors import SettingsError, UserError
from pipeline.formats.model import ModelCard, load_card, save_model
from pipeline.sampling.samples import open_model
from pipeline.scoring.inputs import Opening, open_input
from pipeline.types import DataSpec

CONFIG = {"generator_width": 4, "discriminator_width": 4, "latent": 8, "conditional": True}
SPEC = DataSpec("image", (1, 16, 16), ("a", "b", "c"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("model"), SPEC)


def publish(folder: Path, spec: DataSpec) -> Path:
    torch.manual_seed(0)
    family = plugins.load("families", {"name": "dcgan", **CONFIG})
    card = ModelCard("dcgan", family.config.model_dump(mode="json"), spec, ("generator",), 64, 1, 0, True, {}, {})
    save_model(folder, card, {"generator": family.build(spec)["generator"].state_dict()})
    return folder


def test_pictures_and_a_record_are_written_and_repeat(model: Path, tmp_path: Path) -> None:
    first = work.explore(str(model), "interpolation", tmp_path / "one", ["walks=2", "steps=3", "label=b"])
    again = work.explore(str(model), "interpolation", tmp_path / "two", ["walks=2", "steps=3", "label=b"])
    assert [path.name for path in first] == ["interpolation.png", "explore.json"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    record = json.loads(first[-1].read_text())
    assert record["exploration"] == "interpolation"
    assert record["labels"] == ["b", "b"]
    assert record["grids"] == {"interpolation": [2, 3]}
    assert record["settings"]["walks"] == 2
    assert record["weights_sha256"] == load_card(model).weights_sha256
    with Image.open(first[0]) as image:
        assert image.size == (3 * 48 + 4 * 2, 2 * 48 + 3 * 2)


def test_a_tilde_in_any_path_is_the_home_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(model)

    def zerosum(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["zerosum", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code in (0, None), capsys.readouterr().err

    zerosum("generate", "--model=~/model", "--out=~/samples", "--n", "18")
    assert (tmp_path / "samples" / "00017.png").is_file()
    zerosum("explore", "~/model", "projection", "--out=~/found", "-s", "images=~/samples/00000.png", "-s", "steps=1")
    assert (tmp_path / "found" / "projection.png").is_file()
    capsys.readouterr()
    measured = ("score", "--quiet", "--extractor", "random_projection", "--metrics", "fid", "--json")
    zerosum(*measured, "--real=~/samples", "--fake=~/samples", "--n", "16")
    (tmp_path / "scores.json").write_text(capsys.readouterr().out)
    zerosum("compare", "~/scores.json", "~/scores.json")
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("how", "setting", "key", "names"),
    [
        ("class_mixing", "classes=[3, no]", "classes", ["3", "no"]),
        ("class_mixing", "class_indices=[0, 3]", "classes", ["03", "a"]),
        ("class_mixing", "classes=", "classes", ["03", "3"]),
        ("interpolation", "label=3", "labels", ["3"]),
        ("interpolation", "label=03", "labels", ["03"]),
        ("interpolation", "label=no", "labels", ["no"]),
        ("interpolation", "label=[no]", "labels", ["no"]),
        ("interpolation", "label_index=3", "labels", ["a"]),
        ("interpolation", "label=null", "labels", ["03"]),
        ("arithmetic", "label=no", "label", "no"),
        ("arithmetic", "label_index=[2]", "label", "no"),
    ],
)
def test_classes_are_named_as_they_are_written(how: str, setting: str, key: str, names: object, tmp_path: Path) -> None:
    spec = DataSpec("image", (1, 16, 16), ("03", "3", "no", "a"))
    publish(tmp_path / "model", spec)
    few = {"class_mixing": ["samples=1", "children=0"], "interpolation": ["walks=1", "steps=2"], "arithmetic": []}[how]
    written = work.explore(str(tmp_path / "model"), how, tmp_path / "out", [setting, *few])
    assert json.loads(written[-1].read_text())[key] == names


def test_samples_and_grids_are_kept_apart(model: Path, tmp_path: Path) -> None:
    (tmp_path / "00000.png").write_bytes(b"")
    with pytest.raises(UserError, match="holds samples of `zerosum generate`"):
        work.explore(str(model), "truncation", tmp_path, [])
    work.explore(str(model), "truncation", tmp_path / "out", ["samples=2"])
    with pytest.raises(UserError, match="holds pictures of `zerosum explore`"):
        generating.generate(str(model), tmp_path / "out", 2, generating.SampleRequest(0, 1.0))
    with pytest.raises(UserError, match=r"--fake .* holds pictures of `zerosum explore`"):
        open_input("--fake", str(tmp_path / "out"), Opening(Path, lambda name: lambda done, total: None))


def test_numbers_worth_keeping_are_kept(model: Path, tmp_path: Path) -> None:
    work.explore(str(model), "arithmetic", tmp_path, [])
    assert np.load(tmp_path / "answer_z.npy", allow_pickle=False).shape == (8,)


def test_a_changed_model_is_a_model(model: Path, tmp_path: Path) -> None:
    """Standing statistics give a folder that opens, with other statistics and a trace of where they came from."""
    work.explore(str(model), "standing_statistics", tmp_path, ["passes=2"])
    source, card = open_model(tmp_path / "model")
    before, old = open_model(model)
    assert "standing_statistics" in card.provenance
    assert card.weights_sha256 != old.weights_sha256
    same = {
        name: torch.equal(value, before.networks["generator"].state_dict()[name])
        for name, value in source.networks["generator"].state_dict().items()
    }
    assert all(same[name] == ("running" not in name) for name in same if "num_batches" not in name)


@pytest.mark.parametrize(
    ("how", "settings", "message"),
    [
        ("interpolate", [], r"there is no exploration 'interpolate'; did you mean 'interpolation'"),
        ("interpolation", ["step=3"], r"did you mean 'steps'"),
        ("interpolation", ["steps"], r"--set steps: must be key=value"),
        ("interpolation", ["steps=1"], r"explore\.steps: 1"),
        ("interpolation", ["label=z"], r"label: 'z' is no class; the classes are a, b, c"),
        ("interpolation", ["label=1"], r"for the class at index 1, 'b', write label_index=\[1\]"),
        ("interpolation", ["label={a: b}"], r"--set label=\{a: b\}: must be a class's name or a list of them"),
        ("interpolation", ["label=a", "label_index=1"], "by name or by index, not both"),
        ("interpolation", ["label_index=b"], r"explore\.label_index"),
        ("arithmetic", ["label=[a, b]"], r"explore\.label"),
        ("projection", [], r"explore\.images"),
    ],
)
def test_mistakes_are_sentences(how: str, settings: list[str], message: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises((SettingsError, UserError), match=message):
        work.explore(str(model), how, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


# --- what is no picture ---------------------------------------------------------------------------

SOUND = DataSpec("waveform", (1, 1024), (), "float32", rate=8_000)


def untrained(folder: Path, name: str, spec: DataSpec) -> Path:
    torch.manual_seed(0)
    family = plugins.load("families", {"name": name, "preset": "smoke"})
    card = ModelCard(name, family.config.model_dump(mode="json"), spec, (), 64, 1, 0, True, {}, {})
    built = family.build(spec)
    save_model(folder, card, {each: built[each].state_dict() for each in family.averaged})
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("sound"), "wavegan", SOUND)


def heard(path: Path) -> tuple[int, np.ndarray[Any, Any]]:
    with wave.open(str(path)) as file:
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_a_walk_between_sounds_is_heard_and_its_ends_are_the_models_samples(sound: Path, tmp_path: Path) -> None:
    written = work.explore(str(sound), "interpolation", tmp_path, ["walks=1", "steps=3"])
    names = [f"interpolation-00-{step:02d}.wav" for step in range(3)]
    assert [path.name for path in written] == ["interpolation.png", *names, "explore.json"]
    record = json.loads(written[-1].read_text())
    assert (record["grids"], record["sounds"], len(record["step"][0])) == ({"interpolation": [1, 3]}, names, 2)
    ends = open_model(sound)[0].sample(2)
    for name, x in zip((names[0], names[2]), ends, strict=True):
        rate, values = heard(tmp_path / name)
        assert rate == 8_000
        assert np.array_equal(values, np.rint(x[0].astype(np.float64) * 32_767).astype(np.int16))


def test_the_sounds_of_a_walk_are_no_data(sound: Path, tmp_path: Path) -> None:
    work.explore(str(sound), "truncation", tmp_path, ["samples=2", "truncations=[0.5, 1]"])
    assert len(list(tmp_path.glob("*.wav"))) == 4
    found = listing.listed(tmp_path, kinds.SOUNDS)
    assert found.items == []
    assert len([name for name, _ in found.passed if name.endswith(".wav")]) == 4


def test_what_only_pictures_have_is_refused_for_sounds(sound: Path, tmp_path: Path) -> None:
    own = [f"images={tmp_path}"]
    for how, settings in (("projection", own), ("style_mixing", []), ("translate", own)):
        with pytest.raises(UserError, match=f"{how}: is for models of image, and this one makes waveform"):
            work.explore(str(sound), how, tmp_path / "out", settings)


def test_each_exploration_says_what_it_serves() -> None:
    served = {name: plugins.module("explorations", name).Exploration.modalities for name, _ in work.names()}
    assert {name for name, modalities in served.items() if "waveform" not in modalities} == {
        "age",
        "analogy",
        "illustrate",
        "projection",
        "style_mixing",
        "translate",
    }
    assert all("image" in modalities for modalities in served.values())


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a folder nor a registered model"):
        work.explore(str(tmp_path / "nowhere"), "interpolation", tmp_path / "out", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; name a folder"):
        work.explore(str(tmp_path), "interpolation", tmp_path / "file", [])


def test_they_are_listed_with_what_they_do() -> None:
    listed = dict(work.names())
    assert set(listed) >= {
        "arithmetic", "class_mixing", "interpolation", "projection", "standing_statistics", "traversal", "truncation",
    }  # fmt: skip
    assert all(sentence.endswith(".") for sentence in listed.values())
