"""All six stages, from params.yaml alone, for designs that make no image of their own: pairs, domains, sound, bits."""

from __future__ import annotations

import json
import math
import re
import shutil
import tarfile
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from test_real_data import DATA, ROOT, SMALL, STAGES, run

from pipeline import params
from pipeline.formats import shards
from pipeline.formats.model import load_card
from pipeline.formats.search import load_best
from pipeline.settings import override

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Case:
    """What is unpacked, what is changed in params.yaml, and what must come out."""

    needs: str
    source: dict[str, Any]
    family: str
    keys: dict[str, Any]
    shape: tuple[int, ...]
    metric: str
    splits: dict[str, int]
    pictures: tuple[str, ...]
    changes: dict[str, Any] = field(default_factory=dict)
    searched: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()


PROJECTED = {"reference.extractor": {"name": "random_projection"}}
CASES = {
    "shiny": Case(
        needs="pokesprite-pairs.tar.xz",
        source={
            "name": "paired_folder",
            "folder": "{unpacked}/pokemon-gen8",
            "input": "regular",
            "target": "shiny",
        },
        family="pix2pix",
        keys={"preset": "smoke"},
        shape=(3, 32, 32),
        metric="frechet_random_projection",
        splits={"train": 80, "holdout": 20},
        pictures=("samples", "truncation", "nearest"),
        changes={**PROJECTED, "ingest.limit": 100, "ingest.resolution": 32, "ingest.channels": 3},
        scores=("precision", "recall"),
    ),
    "petals": Case(
        needs="flowers-64px-jpeg.tar.xz",
        source={"name": "two_folders", "folder": "{unpacked}", "input": "daisy", "target": "roses"},
        family="cyclegan",
        keys={"preset": "smoke"},
        shape=(3, 16, 16),
        metric="frechet_random_projection",
        splits={},
        pictures=("samples", "nearest"),
        changes={**PROJECTED, "ingest.limit": 240, "ingest.resolution": 16},
        scores=("precision", "recall"),
    ),
    "larger": Case(
        needs="flowers-64px-jpeg.tar.xz",
        source={"name": "image_folder", "folder": "{unpacked}"},
        family="srgan",
        keys={"preset": "smoke", "content": {"name": "reference"}},
        shape=(3, 32, 32),
        metric="psnr",
        splits={"train": 160, "holdout": 40},
        pictures=("samples", "nearest"),
        changes={
            "ingest.limit": 200,
            "ingest.resolution": 32,
            "ingest.derive": {"low": {"name": "downscale", "factor": 4}},
            "reference.extractor": {"name": "classifier", "width": 8, "examples": 4_000},
            "register.lower_is_better": False,
        },
        scores=("psnr_of_input", "ssim", "ssim_of_input", "precision"),
    ),
    "spoken": Case(
        needs="free-spoken-digits.tar.xz",
        source={
            "name": "wav_folder",
            "folder": "{unpacked}/recordings",
            "labels": r"(?P<label>\d)_.*",
            "length": 4096,
            "level": "peak",
        },
        family="wavegan",
        keys={"preset": "smoke"},
        shape=(1, 4096),
        metric="frechet_classifier",
        splits={"train": 240, "holdout": 60},
        pictures=("samples", "interpolation", "truncation", "nearest"),
        changes={
            "ingest.limit": 300,
            "reference.extractor": {"name": "classifier", "width": 8, "examples": 4_000},
        },
        scores=("precision", "recall", "score_classifier"),
    ),
    "secrets": Case(
        needs="",
        source={"name": "synthetic", "shape": [8], "seed": 3},
        family="adversarial_cryptography",
        keys={"preset": "smoke", "bits": 8},
        shape=(8,),
        metric="bits_lost",
        splits={"train": 0, "holdout": 0},
        pictures=("samples",),
        changes={
            "reference.extractor": {"name": "none"},
            "tune.trials": 2,
            "tune.examples": 256,
            "tune.first_rung": 128,
            "tune.space": {"families.adversarial_cryptography.eve.lr": {"loguniform": [1e-3, 1e-2]}},
        },
        searched=("families.adversarial_cryptography.eve.lr",),
        scores=("bob_bits_wrong", "eve_bits_wrong"),
    ),
}


LONG = {"shiny", "larger", "secrets"}  # in `make bench`


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in CASES])
def test_six_stages_from_params_alone(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if case.needs and not (DATA / case.needs).is_file():
        pytest.skip(f"{DATA / case.needs} is absent; set ZEROSUM_TEST_DATA")
    project(tmp_path, name, case)
    printed = {stage: run(tmp_path, "-m", f"stages.{stage}") for stage in STAGES}
    artifacts = tmp_path / "artifacts"

    manifest = shards.verify(artifacts / "shards")
    assert manifest.spec.shape == case.shape
    assert manifest.source["name"] == case.source["name"]
    found = {
        split: len(shards.load_index(artifacts / "shards", each, manifest.spec))
        for split, each in manifest.splits.items()
    }
    if case.splits:
        assert found == case.splits
    else:
        assert set(found) == {"train", "holdout", "unpaired_train", "unpaired_holdout"}
        assert all(found.values())
    assert tuple(load_best(artifacts / "search").overrides) == case.searched

    card = load_card(artifacts / "model")
    assert card.family == case.family
    assert card.spec == manifest.spec
    assert len(list((artifacts / "model/grids").glob("*.png"))) == 2

    check_report(artifacts / "report", case)
    registered = json.loads((artifacts / "curves/registration/registration.json").read_text())
    assert registered["aliases"] == ["candidate", "champion"]
    assert f"{name} version 1: candidate, champion" in printed["register"]
    check_served(tmp_path, name, case)


def project(root: Path, name: str, case: Case) -> None:
    """params.yaml with the changes, and dvc.yaml; the code stays where it is."""
    unpacked = root / "data"
    if case.needs:
        with tarfile.open(DATA / case.needs) as tar:
            tar.extractall(unpacked, filter="data")
    source = {key: value.format(unpacked=unpacked) if key == "folder" else value for key, value in case.source.items()}
    changes = {
        "ingest.source": source,
        "train.family": case.family,
        f"families.{case.family}": case.keys,
        "register.name": name,
        "register.metric": case.metric,
        "evaluate.gallery": {"searched": 64, "per_class": 6, "rows": 3, "neighbours": 4, "interpolations": 2},
        **case.changes,
    }
    raw = override(params.read(ROOT / "params.yaml"), SMALL)
    (root / "params.yaml").write_text(yaml.safe_dump(override(raw, changes), sort_keys=False))
    shutil.copy(ROOT / "dvc.yaml", root)
    for folder in ("pipeline", "stages"):
        (root / folder).symlink_to(ROOT / folder)


def check_report(folder: Path, case: Case) -> None:
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    assert {case.metric, *case.scores} <= set(metrics)
    assert all(math.isfinite(value) for value in metrics.values())
    page = (folder / "report.html").read_text()
    assert not re.search(r"(src|href|url\()\s*[=(]?\s*[\"']?(https?:)?//", page)
    assert page.count("data:audio/wav;base64,") == (6 if case.family == "wavegan" else 0)
    assert sorted(path.stem for path in (folder / "plots").glob("*.png")) == sorted(case.pictures)
    for picture in case.pictures:
        with Image.open(folder / f"plots/{picture}.png") as image:
            assert image.width > 16
    if case.family == "pix2pix":
        assert "Side by side: input, output, target" in page
    if case.family == "srgan":
        assert "Side by side: input, output, target" in page
        assert "between inputs and truths" in page
        rows = (folder / "plots/pairs.csv").read_text().splitlines()
        assert rows[0] == "number,psnr,psnr_of_input,ssim,ssim_of_input"
        assert len(rows) == 1 + case.splits["holdout"]
    if case.family == "cyclegan":
        assert "Side by side: input, output, change." in page
    if case.family == "adversarial_cryptography":
        assert set(metrics) == {"bits_lost", "bob_bits_wrong", "eve_bits_wrong"}
        assert 0 <= metrics["bob_bits_wrong"] <= 8
        assert "Measured by the design itself" in page


ZEROSUM = "from pipeline.cli.main import main; main()"
TRANSLATE = """
import mlflow.pyfunc, numpy as np, pandas as pd
from pathlib import Path
from pipeline.registry.store import opened
with opened(Path.cwd()):
    model = mlflow.pyfunc.load_model("models:/{name}@champion")
    rows = [np.full({shape}, grey, dtype=np.uint8).tolist() for grey in (0, 128, 255)]
    made = model.predict(pd.DataFrame({{"input": rows}}), params={{"seed": 1}})
print(made.shape, made.dtype, len({{row.tobytes() for row in made}}))
"""


def check_served(root: Path, name: str, case: Case) -> None:
    """Sound is generated as wav files; a translator translates what it is handed."""
    model = f"models:/{name}@champion"
    if case.family == "wavegan":
        run(root, "-c", ZEROSUM, "generate", "--model", model, "--n", "3", "--out", "drawn")
        sounds = sorted((root / "drawn").glob("0*.wav"))
        assert len(sounds) == 3
        with wave.open(str(sounds[0])) as file:
            assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (8_000, 4_096, 1)
    if case.family in ("pix2pix", "cyclegan", "srgan"):
        channels, *sides = case.shape
        given = [side // 4 for side in sides] if case.family == "srgan" else sides
        made = f"{(3, *sides, channels)} uint8 3"
        assert made in run(root, "-c", TRANSLATE.format(name=name, shape=(*given, channels)))
