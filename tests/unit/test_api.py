"""`import zerosum as zs`: its names, what it trains, samples and scores, and what it refuses."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zerosum as zs
from pipeline.cli.main import main
from pipeline.errors import BrokenArtefact

ROOT = Path(__file__).parents[2]
COMMAND = ["zerosum", "score", "--n", "256", "--json", "--metrics", "frechet,precision_recall"]
CLASSIFIER = {"name": "classifier", "width": 4, "dimension": 8, "examples": 1280}
SMALL: dict[str, Any] = {
    "preset": "digits",
    "settings": {"generator_width": 4, "discriminator_width": 4, "latent": 8},
    "extractor": CLASSIFIER,
    "tick": 320,
    "checkpoint": 320,
    "grid": 640,
    "score": {"every": 320, "samples": 64},
    "progress": False,
}


def test_its_names_are_these() -> None:
    assert sorted(zs.__all__) == [
        "Data",
        "Model",
        "Run",
        "Scores",
        "SearchResult",
        "SettingsError",
        "TrainingFailed",
        "UserError",
        "choice",
        "ingest",
        "load",
        "loguniform",
        "open_data",
        "randint",
        "score",
        "search",
        "train",
        "uniform",
    ]
    for name in zs.__all__:
        assert inspect.getdoc(getattr(zs, name)), name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> zs.Data:
    return zs.ingest("digits", tmp_path_factory.mktemp("data") / "shards", resolution=8)


def test_derived_fields_are_read_too(tmp_path: Path) -> None:
    made = zs.ingest("digits", tmp_path, limit=100, derive={"low": {"name": "downscale", "factor": 2}})
    assert made.examples(3)["low"].shape == (3, 1, 4, 4)
    with pytest.raises(zs.SettingsError, match=r"ingest\.derive\.low"):
        zs.ingest("digits", tmp_path / "other", derive={"low": {"name": "grey"}})


@pytest.fixture(scope="module")
def run(data: zs.Data, tmp_path_factory: pytest.TempPathFactory) -> zs.Run:
    return zs.train("dcgan", data, examples=640, folder=tmp_path_factory.mktemp("run"), **SMALL)


def test_data_is_described_and_read(data: zs.Data) -> None:
    assert (len(data), data.spec.shape, data.classes[:2]) == (1438, (1, 8, 8), ("0", "1"))
    assert "1,438 examples" in repr(data)
    found = data.examples(100, start=1400)
    assert (found["x"].shape, found["x"].dtype, found["label"].shape) == ((38, 1, 8, 8), np.uint8, (38,))
    assert len(data.examples(8, split="holdout")["x"]) == 8
    assert np.array_equal(zs.open_data(data.folder).examples()["x"], data.examples()["x"])
    assert data.picture(2, 4).size[0] > data.picture(2, 2).size[0]
    for wrong in ({"split": "test"}, {"start": 1438}, {"n": 0}):
        with pytest.raises(zs.UserError, match=next(iter(wrong))):
            data.examples(**wrong)


def test_a_folder_of_images_and_its_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for index in range(12):
        path = tmp_path / "pets" / ("cat", "dog")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), index * 20, np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    found = zs.ingest(tmp_path / "pets", holdout_fraction=0.25)
    assert found.classes == ("cat", "dog")
    assert found.folder.is_relative_to(tmp_path / ".work/data")
    assert zs.ingest(tmp_path / "pets", holdout_fraction=0.25).manifest.sha256 == found.manifest.sha256
    assert zs.ingest(tmp_path / "pets", holdout_fraction=0.5).folder != found.folder


@pytest.mark.slow
def test_a_training_repeats_and_goes_on(run: zs.Run, data: zs.Data, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    assert [record["examples_seen"] for record in run.history] == [320, 640]
    assert run.history[-1]["frechet"] > 0
    again = zs.train("dcgan", data, examples=640, folder=tmp_path / "again", **SMALL)
    assert again.model.card.weights_sha256 == run.model.card.weights_sha256
    longer = zs.train("dcgan", data, examples=960, folder=tmp_path / "again", **SMALL)
    assert [record["examples_seen"] for record in longer.history] == [320, 640, 960]
    assert torch.get_num_threads() == threads
    assert run.reference.folder == data.reference(CLASSIFIER).folder, "measured once"


@pytest.mark.slow
def test_its_default_folder_is_named_for_what_is_computed(
    data: zs.Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = zs.train("dcgan", data, examples=320, **SMALL)
    assert first.folder.parent == tmp_path / ".work/runs"
    assert zs.train("dcgan", data, examples=640, **SMALL).folder == first.folder
    assert zs.train("dcgan", data, examples=320, seed=1, **SMALL).folder != first.folder


@pytest.mark.slow
def test_samples_are_of_the_classes_asked_for(run: zs.Run) -> None:
    model = run.model
    assert (model.family, model.classes[3]) == ("dcgan", "3")
    every = model.sample(70, seed=3)
    assert (every.shape, every.dtype) == ((70, 1, 8, 8), np.uint8)
    assert np.array_equal(model.sample(5, seed=3), every[:5])
    by_name = model.sample(4, label=["3", "4"])
    assert np.array_equal(by_name, model.sample(4, label_index=[3, 4]))
    assert np.array_equal(model.sample(4, label=3), model.sample(4, label="3"))
    assert model.picture(2).size[0] > 0
    assert set(model.explore("interpolation", walks=2).grids) == {"interpolation"}
    for wrong in ({"label": "x"}, {"label_index": 10}, {"label": "1", "label_index": 1}, {"label": []}):
        with pytest.raises(zs.UserError, match="label"):
            model.sample(4, **wrong)


@pytest.mark.slow
def test_a_saved_model_is_loaded(run: zs.Run, tmp_path: Path) -> None:
    folder = run.model.save(tmp_path / "kept" / "model")
    found = zs.load(folder)
    assert np.array_equal(found.sample(3), run.model.sample(3))
    with pytest.raises(zs.UserError, match="there already"):
        run.model.save(folder)
    with pytest.raises(zs.UserError, match="neither a folder"):
        zs.load(tmp_path / "nowhere")
    (folder / "generator.safetensors").write_bytes(b"x")
    with pytest.raises(BrokenArtefact):
        zs.load(folder)


@pytest.mark.slow
def test_scores_are_those_of_the_command(
    run: zs.Run, data: zs.Data, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = zs.score(run.reference, run.model, metrics=["frechet", "precision_recall"], n=256, threads=1)
    assert [record.name for record in scores] == ["frechet_classifier", "precision", "recall", "f1"]
    assert "frechet_classifier" in str(scores)
    assert scores.by_name("precision").n_fake == 256
    monkeypatch.setattr(sys, "argv", [*COMMAND, "--real", str(run.reference.folder), "--fake", str(run.model.folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in {0, None}
    assert [each["value"] for each in json.loads(capsys.readouterr().out)] == [record.value for record in scores]
    others = zs.score(data, run, extractor="random_projection", metrics=["kernel"], n=128)
    assert [record.name for record in others] == ["kernel_random_projection"]
    with pytest.raises(zs.UserError, match="no score"):
        others.by_name("fid")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"family": "dcgam"}, "did you mean 'dcgan'"),
        ({"exampels": 10}, "train.exampels"),
        ({"preset": "none"}, "preset"),
        ({"settings": {"widht": 3}}, "families.dcgan.widht"),
        ({"settings": {"levels": 9}}, "families.dcgan"),
        ({"run": {"address": "http://head:8265"}}, "run.address"),
        ({"extractor": "clasifier"}, "extractor"),
        ({"family": "pix2pix"}, "pair"),
    ],
)
def test_mistakes_are_named_before_any_work(arguments: dict[str, Any], named: str, data: zs.Data) -> None:
    with pytest.raises(zs.SettingsError, match=named):
        zs.train(**{"family": "dcgan", "data": data, **arguments})


def test_ingest_names_its_mistakes(tmp_path: Path) -> None:
    for arguments, named in (
        ({"source": "digit"}, "did you mean"),
        ({"source": "digits", "resolutoin": 8}, "ingest.resolutoin"),
        ({"source": {"name": "idx"}}, "ingest.source"),
    ):
        with pytest.raises(zs.SettingsError, match=named):
            zs.ingest(folder=tmp_path, **arguments)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_notebook_runs(tmp_path: Path) -> None:
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    last = "assert (zs.load(folder).sample(4) == run.model.sample(4)).all()"
    searched = "assert set(found.best.overrides) == {'families.dcgan.generator.lr'} and len(found.trials) == 2"
    then = "again = zs.train('dcgan', data, preset='digits', examples=2_560, found=found)"
    taken = "assert again.model.card.config['generator']['lr'] == found.best.overrides['families.dcgan.generator.lr']"
    script = "\n".join([*sources, last, searched, then, taken])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "frechet_classifier" in done.stdout
