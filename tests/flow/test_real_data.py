"""All six stages, as a shell runs them, on real data of four kinds, from changes to params.yaml alone.

The budget is that of a smoke test: what is asked is that everything fits together, not that it is good.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pipeline import params
from pipeline.formats import shards
from pipeline.formats.model import load_card
from pipeline.formats.search import load_best
from pipeline.settings import override

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", ROOT / ".." / "shared" / "data"))
STAGES = ("ingest", "reference", "tune", "train", "evaluate", "register")
SMALL: dict[str, Any] = {
    "ingest.resolution": None,
    "reference.extractor": {"name": "classifier", "width": 4, "examples": 640},
    "tune.trials": 0,
    "tune.space": {},
    "train": {
        "examples": 512,
        "batch_size": 32,
        "lanes": 2,
        "tick": 128,
        "checkpoint": 256,
        "grid": 256,
        "score": {"every": 256, "samples": 64},
    },
    "evaluate.samples": 128,
    "evaluate.repeats": 2,
    "evaluate.gallery": {"searched": 64, "per_class": 4, "neighbours": 4, "interpolations": 2},
    "run.num_workers": 1,
    "run.device": "cpu",
}


@dataclass(frozen=True)
class Real:
    """A data set, what is changed for it, and what must come out."""

    needs: str
    source: dict[str, Any]
    family: str
    keys: dict[str, Any]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    items: int
    changes: dict[str, Any] = field(default_factory=dict)
    metric: str = "frechet_classifier"
    searched: tuple[str, ...] = ()


REAL = {
    "flowers": Real(
        needs="flowers-64px-jpeg.tar.xz",
        source={"name": "image_folder", "folder": "{unpacked}"},
        family="dcgan",
        keys={"preset": "digits", "latent": 16, "generator_width": 2, "discriminator_width": 4, "levels": 4},
        shape=(3, 64, 64),
        classes=("daisy", "dandelion", "roses", "sunflowers", "tulips"),
        items=200,
    ),
    "fashion": Real(
        needs="fashion-mnist/t10k-images-idx3-ubyte.gz",
        source={"name": "idx", "folder": "{data}/fashion-mnist", "part": "t10k"},
        family="gan",
        keys={"preset": "small", "conditional": True, "generator_widths": [64], "discriminator_units": [32]},
        shape=(1, 28, 28),
        classes=tuple("0123456789"),
        items=400,
        changes={
            "tune.trials": 2,
            "tune.examples": 256,
            "tune.first_rung": 128,
            "tune.space": {"families.gan.generator.lr": {"loguniform": [1e-4, 1e-3]}},
        },
        searched=("families.gan.generator.lr",),
    ),
    "cifar10": Real(
        needs="cifar10-first4000-binary.tar.xz",
        source={"name": "cifar10", "path": "{data}/cifar10-first4000-binary.tar.xz"},
        family="r3gan",
        keys={"preset": "small", "conditional": True, "widths": [12, 8, 8], "groups": [3, 2, 2]},
        shape=(3, 32, 32),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        items=400,
    ),
    "sprites": Real(
        needs="pokesprite-pairs.tar.xz",
        source={"name": "image_folder", "folder": "{unpacked}/pokemon-gen8/regular", "labels": "none"},
        family="wgan_gp",
        keys={
            "preset": "small",
            "conditional": False,
            "generator_widths": [12, 8],
            "discriminator_widths": [8, 12],
            "discriminator_steps": 2,
        },
        shape=(4, 56, 68),
        classes=(),
        items=300,
        changes={"reference.extractor": {"name": "random_projection"}},
        metric="frechet_random_projection",
    ),
}


LONG = {"fashion", "sprites", "cifar10"}  # in `make bench`


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in REAL])
def test_six_stages_from_params_alone(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    real = REAL[name]
    if not (DATA / real.needs).is_file():
        pytest.skip(f"{DATA / real.needs} is absent; set ZEROSUM_TEST_DATA")
    project(tmp_path, name, real, tmp_path_factory)
    printed = {stage: run(tmp_path, "-m", f"stages.{stage}") for stage in STAGES}
    artifacts = tmp_path / "artifacts"

    manifest = shards.verify(artifacts / "shards")
    assert (manifest.spec.shape, manifest.spec.classes) == (real.shape, real.classes)
    assert sum(split.examples for split in manifest.splits.values()) == real.items
    assert 0.15 * real.items < manifest.split("holdout").examples < 0.25 * real.items
    for split in manifest.splits.values():
        assert set(split.histogram) == set(real.classes)
        assert sum(split.histogram.values()) == (split.examples if real.classes else 0)
    assert manifest.rejects == {}
    assert ("unlabelled" in printed["ingest"]) == (not real.classes)

    best = load_best(artifacts / "search")
    assert tuple(best.overrides) == real.searched

    card = load_card(artifacts / "model")
    assert card.family == real.family
    assert card.spec == manifest.spec
    assert 512 <= card.examples_seen < 512 + 128
    assert len(list((artifacts / "model/grids").glob("*.png"))) == 2

    check_report(artifacts / "report", real)
    registered = json.loads((artifacts / "curves/registration/registration.json").read_text())
    assert registered["aliases"] == ["candidate", "champion"]
    assert f"{name} version 1: candidate, champion" in printed["register"]
    check_served(tmp_path, name, real)


def project(root: Path, name: str, real: Real, tmp: pytest.TempPathFactory) -> None:
    """params.yaml with the changes, and dvc.yaml; the code stays where it is."""
    unpacked = root / "data"
    if real.needs.endswith(".tar.xz") and "{unpacked}" in str(real.source):
        with tarfile.open(DATA / real.needs) as tar:
            tar.extractall(unpacked, filter="data")
    places = {"data": str(DATA.resolve()), "unpacked": str(unpacked)}
    source = {key: value.format(**places) for key, value in real.source.items()}
    changes = {
        **SMALL,
        "ingest.source": source,
        "ingest.limit": real.items,
        "train.family": real.family,
        f"families.{real.family}": real.keys,
        "register.name": name,
        "register.metric": real.metric,
        **real.changes,
    }
    raw = override(params.read(ROOT / "params.yaml"), SMALL)
    (root / "params.yaml").write_text(yaml.safe_dump(override(raw, changes), sort_keys=False))
    shutil.copy(ROOT / "dvc.yaml", root)
    for folder in ("pipeline", "stages"):
        (root / folder).symlink_to(ROOT / folder)


def run(root: Path, *command: str) -> str:
    """A Python command in the project; its output, once it has ended well."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, *command], cwd=root, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr
    return done.stdout


def check_report(folder: Path, real: Real) -> None:
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    extractor = "random_projection" if not real.classes else "classifier"
    expected = {f"frechet_{extractor}", f"frechet_{extractor}_at_holdout_n", "frechet_holdout"}
    assert expected | {"precision", "recall"} <= set(metrics)
    assert ("label_agreement" in metrics) == bool(real.classes)
    assert all(math.isfinite(value) for value in metrics.values())
    page = (folder / "report.html").read_text()
    assert not re.search(r"(src|href|url\()\s*[=(]?\s*[\"']?(https?:)?//", page)
    assert "data:image/png;base64," in page
    assert str(DATA.resolve()) not in page, "the report names a folder of this machine"
    for picture in ("samples", "interpolation", "truncation", "nearest"):
        with Image.open(folder / f"plots/{picture}.png") as image:
            assert image.mode == ("L" if real.shape[0] == 1 else "RGB")
            assert min(image.size) >= min(real.shape[1:])


ZEROSUM = "from pipeline.cli.main import main; main()"


def check_served(root: Path, name: str, real: Real) -> None:
    """The registered version generates, by the command that the stage prints."""
    model = f"models:/{name}@champion"
    run(root, "-c", ZEROSUM, "generate", "--model", model, "--n", "5", "--out", "drawn")
    drawn = sorted((root / "drawn").glob("0*.png"))
    assert len(drawn) == 5
    channels, height, width = real.shape
    for path in drawn:
        with Image.open(path) as image:
            assert image.size == (width, height)
            assert len(image.getbands()) == channels
