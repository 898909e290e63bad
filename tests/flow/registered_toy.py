"""A small project with a toy model and its report, as the train and evaluate stages leave them."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline import plugins
from pipeline.formats.model import ModelCard, save_model
from pipeline.formats.report import ExtractorIdentity, ScoreRecord, save_scores
from pipeline.registry.tracking import Training
from pipeline.types import DataSpec

LINEAGE = {"git_commit": "none", "git_dirty": "none", "manifest_sha256": "ef" * 32, "settings_sha256": "12" * 32}


def record(value: float, extractor: str = "cd" * 32, seed: int = 0) -> ScoreRecord:
    return ScoreRecord(
        name="frechet_classifier",
        value=value,
        spread=0.1,
        n_real=100,
        n_fake=100,
        split="train",
        extractor=ExtractorIdentity("classifier", extractor, 64),
        resize="none",
        seed=seed,
        repeats=2,
        ema=True,
        truncation=1.0,
        version="1",
    )


SMALL: dict[str, dict[str, object]] = {
    "dcgan": {"generator_width": 4, "discriminator_width": 4, "latent": 8, "smallest": 2, "loss": {"name": "hinge"}},
    "gan": {"latent": 8, "generator_widths": [16], "discriminator_units": [8]},
    "r3gan": {"latent": 8, "widths": [8, 8], "blocks": [1, 1], "groups": [2, 2]},
    "wgan_gp": {"latent": 8, "generator_widths": [8, 8], "discriminator_widths": [8, 8]},
}


def model(folder: Path, family: str = "dcgan", *, seed: int = 0, conditional: bool = True, channels: int = 1) -> None:
    """Write an untrained model of three classes; other seeds give other weights."""
    spec = DataSpec("image", (channels, 8, 8), ("zero", "one", "two"))
    config = {"conditional": conditional, **SMALL[family]}
    loaded = plugins.load("families", {"name": family, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = loaded.build(spec)
    card = ModelCard(family, config, spec, (), 1280, 20, seed, True, {"manifest_sha256": "ab" * 32}, {})
    save_model(folder, card, {"generator": networks["generator"].state_dict()})


def project(root: Path, *, seed: int = 0, value: float = 3.0, conditional: bool = True, channels: int = 1) -> Training:
    """Write params.yaml, artifacts/model and artifacts/report; other seeds give other weights."""
    model(root / "artifacts/model", seed=seed, conditional=conditional, channels=channels)
    save_scores(root / "artifacts/report", [record(value)])
    (root / "artifacts/report/report.html").write_text("<html></html>")
    (root / "params.yaml").write_text("register: {}\n")
    rows = [{"examples_seen": 64 * row, "loss": float(row), "state": "words"} for row in range(1200)]
    rows[3] |= {"gradient": float("nan")}
    rows[4] |= {"gradient": float("inf"), "absent": None}
    return Training(
        model=root / "artifacts/model",
        report=root / "artifacts/report",
        params={"train.lr": 2e-4, "train.name(s)": ["a", "b"], "where": str(root / "data"), "long": "x" * 9000},
        history=rows,
        lineage=LINEAGE,
        attachments=[root / "params.yaml", root / "dvc.lock"],
    )
