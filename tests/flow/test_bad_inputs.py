"""Everything a person can get wrong: each ends in a sentence that names the key or file and says what would do.

One table: settings, then data, then artefacts. Stages are called in this process, but for a
few that show what a shell sees.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import spoilt
import torch
import yaml
from spoilt import GOOD

from pipeline import params
from pipeline.dag import runner
from pipeline.data import packing
from pipeline.errors import UserError
from pipeline.formats.shards import Manifest
from pipeline.preflight.fits import after_ingest
from pipeline.preflight.items import before_ingest
from pipeline.settings import override
from stages import evaluate, reference, register, train, tune

ROOT = Path(__file__).parents[2]
STAGES = {"reference": reference, "tune": tune, "train": train, "evaluate": evaluate, "register": register}
DCGAN_LR = "families.dcgan.generator.lr"
SPACE = "tune.space"
FOLDER = {"name": "image_folder", "folder": "data"}
PAIRS = {"name": "paired_folder", "folder": "data"}
WAVS = {"name": "wav_folder", "folder": "data", "length": 16_384, "labels": "none"}
SOUND = {"ingest.source": WAVS, "ingest.resolution": None, "train.family": "wavegan", SPACE: {}}
FOUR = ("a__1", "a__2", "b__3", "b__4")
LABELS = {**FOLDER, "labels": "labels.csv"}
IDX = {"name": "idx", "images": "images.idx", "labels": "labels.idx"}
CIFAR = {"name": "cifar10", "path": "cifar.tar.gz"}
BY_LABELS = {"reference.extractor": {"name": "classifier"}, "register.metric": "frechet_classifier"}


@dataclass(frozen=True)
class Case:
    """settings: dotted keys changed. file: params.yaml's bytes instead. data, artefacts: what is spoilt.

    packed: only the shards showed that something is wrong.
    """

    says: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    file: bytes | None = None
    data: Callable[[Path], None] | None = None
    stage: str = ""
    artefacts: Callable[[Path], None] | None = None
    packed: bool = False

    def after_packing(self) -> Case:
        return replace(self, packed=True)


def said(settings: dict[str, Any], *says: str) -> Case:
    return Case(says, settings)


def searched(key: str, how: object, *says: str) -> Case:
    return Case(says, {SPACE: {key: how}})


def family(name: str, keys: dict[str, Any], *says: str) -> Case:
    found = {f"families.{name}.{key}": value for key, value in keys.items()}
    return Case(says, {"train.family": name, SPACE: {}, **found})


def text(content: bytes, *says: str) -> Case:
    return Case(("params.yaml", *says), file=content)


def data(spoil: Callable[[Path], None] | None, *says: str, **ingest: Any) -> Case:
    return Case(says, {f"ingest.{name}": value for name, value in ingest.items()}, data=spoil or (lambda _: None))


def artefact(stage: str, spoil: Callable[[Path], None], *says: str, **settings: Any) -> Case:
    return Case(
        says, {name.replace("__", "."): value for name, value in settings.items()}, stage=stage, artefacts=spoil
    )


FILES = {
    "empty file": text(b"", "is empty", "ingest, reference, tune, train"),
    "no sections": text(b"- train\n- run\n", "must hold sections", "not ['train', 'run']"),
    "not UTF-8": text(b"train: {family: \xff\xfe}\n", "not a text file in UTF-8"),
    "UTF-16": text("train: {}\n".encode("utf-16"), "not a text file in UTF-8"),
    "open bracket": text(b"train: {seed: 1\n", "not valid YAML at line 2"),
    "tab": text(b"train:\n\tseed: 1\n", "not valid YAML at line 2, column 1", "'\\t'"),
    "a key twice": text(b"train:\n  seed: 1\n  seed: 2\n", "line 3, column 3", "the key 'seed' stands twice"),
    "a section twice": text(b"run: {}\nrun: {}\n", "line 2, column 1", "the key 'run' stands twice"),
    "a list as key": text(b"? [a]\n: 1\n", "line 1", "a key must be a plain word"),
    "merge keys": text(b"run: &a {}\ntrain:\n  <<: *a\n", "line 3", "merge keys (<<) are not read"),
    "python tag": text(b"train: !!python/object/apply:os.system ['true']\n", "line 1", "tags ("),
    "two documents": text(b"train: {}\n---\nrun: {}\n", "line 2", "another document"),
    "nested without end": text(b"[" * 5000, "nested more than 64 levels"),
    "a zero byte": text(b"train: \0\n", "not valid YAML"),
    "a date": Case(("train.seed", "must be a whole number"), file=b"train: {seed: 2001-01-01}"),
    "NaN": Case(("train.averaging.ramp: nan", "a finite number"), file=b"train: {averaging: {ramp: .nan}}"),
    "beyond floats": Case(("train.averaging.ramp: inf", "finite"), file=b"train: {averaging: {ramp: 1e999}}"),
    "no file": Case(("params.yaml is missing from", "run this in the project"), stage="no file"),
}

SECTIONS = {
    "unknown section": said({"ingset": {}}, "ingset: unknown section; did you mean 'ingest'?"),
    "number as section": said({"7": {}}, "7: unknown section; known: evaluate, families"),
    "a list where a section is needed": said({"train": []}, "train: must be a section of keys, not []"),
    "a word where a section is needed": said({"run": "local"}, "run: must be a section of keys, not 'local'"),
    "null in a section": said({"train.averaging": None}, "train.averaging: null", "keys half_life, ramp"),
    "families as a list": said({"families": []}, "families: must be a section of families"),
    "a family as a word": said({"families.r3gan": "small"}, "families.r3gan: must be a section of keys, not 'small'"),
    "unknown key": said({"train.batchsize": 3}, "train.batchsize: unknown key; did you mean 'batch_size'?"),
    "capitals": said({"train.Batch_Size": 3}, "train.Batch_Size: unknown key; did you mean 'batch_size'?"),
    "unknown deep key": said({"train.score.n": 1}, "train.score.n: unknown key; known: every, samples, seed"),
    "two mistakes": said({"train.tik": 1, "run.device": "gpu"}, "train.tik: unknown key", "run.device: 'gpu'"),
}

TYPES = {
    "text for a number": said({"train.batch_size": "many"}, "train.batch_size: 'many'", "must be a whole number"),
    "quoted number": said({"train.batch_size": "16"}, "train.batch_size: '16'", "whole number, without quotes"),
    "fraction": said({"train.batch_size": 16.5}, "train.batch_size: 16.5", "must be a whole number"),
    "true for a number": said({"train.lanes": True}, "train.lanes: true", "must be a whole number"),
    "number for true": said({"train.flip": 2}, "train.flip: 2", "must be true or false"),
    "number for text": said({"register.name": 7}, "register.name: 7", "must be text"),
    "null for a number": said({"train.seed": None}, "train.seed: null", "must be a whole number"),
    "list for a number": said({"train.tick": [64]}, "train.tick: [64]", "must be a whole number"),
    "number for a list": said({"evaluate.truncations": 0.5}, "evaluate.truncations: 0.5", "must be a list"),
    "word for a plug-in": said({"ingest.source": "digits"}, "ingest.source: 'digits'", "such as {name: …}"),
    "unknown word": said({"train.publish": "lst"}, "train.publish: 'lst'", "last or best; did you mean 'last'?"),
    "negative seed": said({"train.seed": -1}, "train.seed: -1", "must be 0 or above"),
    "zero examples": said({"train.examples": 0}, "train.examples: 0", "must be above 0"),
    "too many threads": said({"train.threads_per_lane": 1000}, "train.threads_per_lane: 1000", "256 or below"),
    "infinite": said({"train.averaging.ramp": float("inf")}, "train.averaging.ramp: inf", "a finite number"),
    "too few samples": said({"train.score.samples": 1}, "train.score.samples: 1", "must be 16 or above"),
    "no share": said({"ingest.max_rejected_fraction": 2}, "ingest.max_rejected_fraction: 2", "must be 1 or below"),
    "resolution as text": said({"ingest.resolution": "16x16"}, "ingest.resolution: '16x16'", "a list of 2 or a whole"),
    "resolution of one": said({"ingest.resolution": [16]}, "ingest.resolution: [16]", "must be a list of 2"),
    "resolution of three": said({"ingest.resolution": [8, 8, 3]}, "ingest.resolution: [8, 8, 3]", "a list of 2"),
    "resolution of zero": said({"ingest.resolution": [16, 0]}, "ingest.resolution[1]: 0", "must be 1 or above"),
    "gigantic": said({"ingest.resolution": 20_000}, "ingest.resolution: 20000", "must be 8192 or below"),
    "two channels": said({"ingest.channels": 2}, "ingest.channels: 2", "must be 1, 3 or 4"),
    "nothing held out": said({"ingest.holdout_fraction": 0}, "ingest.holdout_fraction: 0", "above 0, such as 0.2"),
}

ARITHMETIC = {
    "batch and lanes": said({"train.batch_size": 15}, "train.batch_size: 15 does not divide into lanes: 2"),
    "lanes": said({"train.lanes": 3}, "train.lanes: 3 is not a power of two; take 2"),
    "workers and lanes": said({"run.num_workers": 3}, "run.num_workers: 3", "train.lanes: 2", "take one of [1, 2]"),
    "more workers than lanes": said({"run.num_workers": 4}, "run.num_workers: 4", "take one of [1, 2]"),
    "workers of a trial": said({"tune.workers_per_trial": 3}, "tune.workers_per_trial: 3", "train.lanes: 2"),
    "examples and tick": said({"train.examples": 257}, "train.examples: 257 is not a multiple of tick: 64"),
    "checkpoint and tick": said({"train.checkpoint": 100}, "train.checkpoint: 100 is not a multiple of tick: 64"),
    "grid and tick": said({"train.grid": 5}, "train.grid: 5 is not a multiple of tick: 64"),
    "score and tick": said({"train.score.every": 7}, "train.score.every: 7 is not a multiple of tick: 64"),
    "trial and tick": said({"tune.examples": 130}, "tune.examples: 130 is not a multiple of train.tick: 64"),
    "rung and tick": said({"tune.first_rung": 65}, "tune.first_rung: 65 is not a multiple of train.tick: 64"),
    "rung beyond the trial": said({"tune.first_rung": 640}, "tune.first_rung: 640 is beyond examples: 128"),
}

FAMILIES = {
    "unknown family": said({"train.family": "dcgann"}, "train.family: there is no family 'dcgann'", "'dcgan'?"),
    "no name near": said({"train.family": "vae"}, "train.family", "'vae'; known: actor_critic, adversarial"),
    "family as a list": said({"train.family": ["dcgan"]}, "train.family: ['dcgan']", "must be text"),
    "keys of no family": said({"families.dcgn": {}}, "families.dcgn: there is no such family", "'dcgan'?"),
    "unknown preset": family("dcgan", {"preset": "digit"}, "families.dcgan.preset", "'digit'", "'digits'?"),
    "preset as a list": family("dcgan", {"preset": ["digits"]}, "families.dcgan.preset", "there is no preset"),
    "unknown family key": family("dcgan", {"width": 3}, "families.dcgan.width: unknown key"),
    "unknown loss": family("dcgan", {"loss": "hing"}, "families.dcgan.loss.name", "no loss 'hing'", "'hinge'?"),
    "unknown loss key": family(
        "dcgan", {"loss": {"name": "hinge", "margn": 1}}, "families.dcgan.loss.margn: unknown key", "'margin'?"
    ),
    "loss without name": family("dcgan", {"loss": {}}, "families.dcgan.loss.name: is required", "hinge"),
    "negative penalty": family(
        "dcgan", {"penalties": {"name": "r1", "gamma": -1}}, "families.dcgan.penalties.r1.gamma: -1", "0 or above"
    ),
    "an older key": family(
        "dcgan", {"penalty_every": 4}, "families.dcgan.penalty_every: is called penalties.NAME.every now"
    ),
    "unknown optimiser": family("dcgan", {"generator.name": "adamw"}, "generator.name: 'adamw'", "'adam'?"),
    "negative rate": family("dcgan", {"generator.lr": -1e-3}, "families.dcgan.generator.lr: -0.001", "0 or above"),
    "rate of zero": family("dcgan", {"generator.lr": 0}, "families.dcgan.generator.lr: 0", "must be above 0"),
    "rate as a word": family(
        "dcgan", {"generator.lr": "fast"}, "generator.lr: 'fast'", "a number or a section of the keys start, end"
    ),
    "ramp without end": family(
        "dcgan", {"generator.lr": {"start": 1e-3, "examples": 9}}, "families.dcgan.generator.lr.end: is required"
    ),
    "ramp of another shape": family(
        "dcgan",
        {"generator.lr": {"start": 1e-3, "end": 0, "examples": 9, "shape": "cos"}},
        "families.dcgan.generator.lr.shape: 'cos'",
        "did you mean 'cosine'?",
    ),
    "geometric to zero": family(
        "dcgan",
        {"generator.lr": {"start": 1e-3, "end": 0, "examples": 9, "shape": "geometric"}},
        "families.dcgan.generator.lr.shape: geometric needs both ends above 0",
    ),
    "ramp below zero": family(
        "dcgan", {"generator.lr": {"start": 1e-3, "end": -1, "examples": 9}}, "generator.lr.end: -1", "0 or above"
    ),
    "beta of one": family("dcgan", {"generator.beta1": 1.0}, "families.dcgan.generator.beta1: 1", "must be below 1"),
    "negative gamma": family(
        "r3gan", {"penalties": {"r1": {"gamma": -1}}}, "families.r3gan.penalties.r1.gamma: -1", "must be 0 or above"
    ),
    "stages that differ": family("r3gan", {"widths": [8, 8]}, "families.r3gan.widths", "have 2, 3 and 3"),
    "groups": family("r3gan", {"groups": [7, 4, 2]}, "families.r3gan.groups: 7 do not divide"),
    "width of zero": family("gan", {"generator_widths": [0]}, "families.gan.generator_widths[0]: 0", "1 or above"),
    "no widths": family(
        "wgan_gp", {"discriminator_widths": []}, "families.wgan_gp.discriminator_widths: []", "a list of 1 or more"
    ),
    "unreachable for dcgan": Case(
        ("families.dcgan", "15×15 is no base·2^k", "ingest.resolution: 16"), {"ingest.resolution": 15}
    ),
    "unreachable for r3gan": family("r3gan", {"widths": [8] * 5, "blocks": [1] * 5, "groups": [2] * 5}, "r3gan.widths"),
    "too many levels": family("dcgan", {"levels": 5}, "families.dcgan.levels: 8×8", "3 or below", "resolution: 32"),
}

SEARCH = {
    "set and searched": said({DCGAN_LR: 1e-3}, f"{DCGAN_LR}: is set to 0.001 and also searched", "remove one"),
    "its section set": said({"families.dcgan.generator": {"lr": 1e-3}}, f"{DCGAN_LR}: is set to 0.001", "remove one"),
    "family set and searched": searched("train.family", {"choice": ["gan"]}, "train.family: is set to 'dcgan'"),
    "whole and part": said(
        {f"{SPACE}": {"families.dcgan.generator": {"choice": [{}]}, DCGAN_LR: {"uniform": [1e-4, 1e-3]}}},
        "families.dcgan.generator: is searched whole",
        f"'{DCGAN_LR}'",
    ),
    "no such key": searched("families.dcgan.latnt", {"randint": [1, 2]}, "dcgan.latnt: 1 is not a valid", "'latent'?"),
    "no such family": searched("families.dcgn.latent", {"randint": [1, 2]}, "no family 'dcgn'; did you mean 'dcgan'?"),
    "no such train key": searched("train.treads", {"choice": [1]}, "tune.space.train.treads", "unknown key"),
    "not to be searched": searched("run.num_workers", {"choice": [1]}, "run.num_workers: only train.… and families.…"),
    "no range": searched("families.dcgan.latent", 3, "tune.space.families.dcgan.latent: 3", "choice, uniform"),
    "empty range": searched("families.dcgan.latent", {}, "exactly one of choice, uniform, loguniform, randint"),
    "two ranges": searched(DCGAN_LR, {"uniform": [0.1, 1], "choice": [1]}, "not ['choice', 'uniform']"),
    "misspelt range": searched(DCGAN_LR, {"logunifrm": [1e-4, 1e-3]}, "lr.logunifrm: unknown key", "'loguniform'?"),
    "one bound": searched(DCGAN_LR, {"loguniform": [1e-4]}, "lr.loguniform: [0.0001]", "must be a list of 2"),
    "bounds as text": searched(DCGAN_LR, {"loguniform": "small"}, "lr.loguniform: 'small'", "must be a list of 2"),
    "bounds reversed": searched(DCGAN_LR, {"uniform": [1, 0.1]}, "lr.uniform: the first bound 1.0 is not below"),
    "logarithm of zero": searched(DCGAN_LR, {"loguniform": [0, 1]}, "lr.loguniform: bounds must be above 0"),
    "no choice": searched(DCGAN_LR, {"choice": []}, "lr.choice: []", "a list of 1 or more"),
    "NaN as bound": searched(DCGAN_LR, {"uniform": [float("nan"), 1]}, "uniform[0]: nan", "a finite number"),
    "a choice it would not take": searched(
        "families.dcgan.latent", {"choice": [8, "big"]}, "dcgan.latent: 'big' is not a valid", "a whole number"
    ),
    "a bound it would not take": searched(DCGAN_LR, {"uniform": [-1, 1]}, "lr: -1.0 is not a valid", "0 or above"),
    "between the bounds": searched(
        "families.dcgan.latent", {"uniform": [8, 16]}, "dcgan.latent: 12.94 is not a valid", "a whole number"
    ),
    "an unknown family": Case(
        ("tune.space.train.family: 'r3gn' is not a valid", "did you mean 'r3gan'?"),
        {"train": {key: value for key, value in GOOD["train"].items() if key != "family"}}
        | {SPACE: {"train.family": {"choice": ["dcgan", "r3gn"]}}},
    ),
    "lanes the workers cannot share": Case(
        ("tune.space.train.lanes: 1 is not a valid", "run.num_workers: 2 workers cannot share"),
        {"train": {key: value for key, value in GOOD["train"].items() if key != "lanes"}}
        | {SPACE: {"train.lanes": {"choice": [2, 1]}}},
    ),
    "a design the data cannot have": searched(
        "families.dcgan.levels", {"randint": [1, 4]}, "tune.space.families.dcgan.levels: 4 is not a valid", "8×8"
    ),
    "asynchronous misspelt": said({"tune.mode": "async"}, "tune.mode: 'async'", "asynchronous or population"),
}

REST = {
    "unknown source": said({"ingest.source.name": "digit"}, "ingest.source.name", "did you mean 'digits'?"),
    "source without name": said({"ingest.source": {}}, "ingest.source.name: is required", "archive, cifar10, csv"),
    "source key missing": said({"ingest.source": {"name": "image_folder"}}, "ingest.source.folder: is required"),
    "source key unknown": said({"ingest.source.foldr": "x"}, "ingest.source.foldr", "did you mean 'folder'?"),
    "digits have no keys": said({"ingest.source": {"name": "digits", "n": 3}}, "source.n: unknown key; there are no"),
    "unknown extractor": said(
        {"reference.extractor.name": "classifer"}, "reference.extractor.name", "did you mean 'classifier'?"
    ),
    "extractor key": said({"reference.extractor.dimension": 1}, "reference.extractor.dimension: 1", "2 or above"),
    "unknown metric": said({"evaluate.metrics": [{"name": "fid"}]}, "evaluate.metrics[0].name", "'fid'; known:"),
    "metric as a word": said({"evaluate.metrics": ["frechet"]}, "evaluate.metrics[0]: 'frechet'", "{name: …}"),
    "a metric's key": said(
        {"evaluate.metrics": [{"name": "frechet"}, {"name": "kernel", "degree": 0}]}, "evaluate.metrics[1].degree: 0"
    ),
    "no metrics": said({"evaluate.metrics": []}, "evaluate.metrics: []", "a list of 1 or more"),
    "a metric twice": said({"evaluate.metrics": [{"name": "frechet"}] * 2}, "evaluate.metrics: 'frechet'", "twice"),
    "negative truncation": said({"evaluate.truncations": [-1]}, "evaluate.truncations", "all above 0"),
    "no model name": said({"register.name": ""}, "register.name: '' is no name", "begin with a letter or digit"),
    "slash in the name": said({"register.name": "a/b"}, "register.name: 'a/b' is no name"),
    "alias latest": said({"register.champion": "latest"}, "register.champion: 'latest' is no alias"),
    "alias like a version": said({"register.champion": "v3"}, "register.champion: 'v3' is no alias"),
    "one alias": said({"register.champion": "candidate"}, "register.champion", "must be two aliases"),
    "score of another extractor": said(
        {"register.metric": "frechet_classifier"},
        "register.metric: 'frechet_classifier'",
        "reference.extractor.name is 'random_projection'; take 'frechet_random_projection'",
    ),
    "address": said({"run.address": "nonsense"}, "run.address: 'nonsense' is no address", "host:port"),
    "port": said({"run.address": "head:99999"}, "run.address: 'head:99999'", "host:port"),
    "device": said({"run.device": "gpu"}, "run.device: 'gpu'", "auto, cpu or cuda"),
    "cuda without a GPU": said({"run.device": "cuda"}, "run.device: cuda is asked for", "no GPU", "README"),
    "no storage": said({"run.storage": ""}, "run.storage: ''", "not empty"),
    "storage among the outs": said({"run.storage": "artifacts/x"}, "run.storage: 'artifacts/x'", "DVC's outs"),
    "storage nowhere": said({"run.storage": "/proc/none/x"}, "run.storage: '/proc/none/x' cannot be made"),
    "resize none": data(
        spoilt.idx(), "ingest.resize: none", "16×16", "8×8", "stretch", source=IDX, resize="none", resolution=16
    ),
}

LISTED = b"file,label\n" + b"".join(
    f"{a}s/{n}.png,{b}\n".encode() for a, b in (("cat", "a"), ("dog", "b")) for n in range(6)
)
REJECTED = ("cannot be used", "ingest.max_rejected_fraction allows 0.01", "rejects.csv")
FOLDERS = {
    "folder missing": data(spoilt.only(), "ingest.source.folder: 'data' does not exist"),
    "folder is a file": data(
        None, "ingest.source.folder: 'params.yaml' is a file", source=FOLDER | {"folder": "params.yaml"}
    ),
    "folder empty": data(lambda root: (spoilt.remove(root / "data"), (root / "data").mkdir())[1], "'data' is empty"),
    "all broken": data(
        spoilt.only(a__1_png=b"x", a__2_png=b"", b__3_png=b"y"),
        "3 of 3 items cannot be used",
        "3 × not an image",
        "a/1.png",
        "name a folder of JPEG, PNG or WebP images",
        "max_rejected_fraction would not help",
    ),
    "a class of broken images": data(
        spoilt.extra(b"", "birds/a.png"),
        "1 of 3 classes has no example to train on",
        "birds: 1 item was rejected, birds/a.png: not an image",
        "ingest.empty_classes: drop",
        max_rejected_fraction=0.5,
    ),
    "an example a class": data(
        spoilt.only(a__1_png=spoilt.image(1), b__2_png=spoilt.image(2)),
        "the last of its class",
        "bring at least one more",
    ),
    "truncated JPEG": data(spoilt.extra(spoilt.image(1, "JPEG")[:400]), "1 of 13", "damaged image", *REJECTED),
    "truncated PNG": data(spoilt.extra(spoilt.image(1)[:100]), "cats/odd.png: damaged image", *REJECTED),
    "not an image": data(spoilt.extra(b"MZ\x90\0"), "cats/odd.png: not an image", *REJECTED),
    "GIF": data(spoilt.extra(spoilt.image(1, "GIF")), "not an image (neither JPEG, PNG nor WebP)", *REJECTED),
    "decompression bomb": data(spoilt.extra(spoilt.bomb()), "too many pixels", *REJECTED),
    "large file": data(None, "12 of 12", "too many bytes", "raise ingest.max_bytes", max_bytes=10),
    "16 bits": data(spoilt.extra(spoilt.deep()), "more than 8 bits a channel", "convert it to 8 bits", *REJECTED),
    "CMYK": data(spoilt.extra(spoilt.image(1, "JPEG", mode="CMYK")), "unsupported colours (mode CMYK", *REJECTED),
    "animated": data(spoilt.extra(spoilt.animated()), "animated (2 frames)", *REJECTED),
    "transparent": data(
        spoilt.extra(spoilt.transparent()), "transparent", *REJECTED, channels=3, transparency="reject"
    ),
    "link out of the folder": data(spoilt.link("../../secret.png"), "symlink leaving the folder", *REJECTED),
    "link to nothing": data(spoilt.link("nothing.png"), "broken symlink", *REJECTED),
    "class folders that are links elsewhere": data(
        spoilt.linked_classes("/proc/self"),
        "ingest.source.folder: all its class folders are links that are not followed",
        "a → /proc/",
        "set ingest.source.links: [/proc/",
    ),
    "splits in place of classes": data(
        spoilt.only(train__a__1_png=spoilt.image(1), VAL__a__2_png=spoilt.image(2)),
        "ingest.source.folder: 'data' holds splits of one data set, not classes: 'VAL' (1 image), 'train' (1 image)",
        "folder: data/train",
    ),
    "no images": data(spoilt.only(a__1_txt=b"x", a__2_npz=b"y"), "'data' holds no image", "1 × .npz, 1 × .txt"),
    "a bucket": data(
        None, "ingest.source.folder: 'gs://b/x' is an address", "this machine", source=FOLDER | {"folder": "gs://b/x"}
    ),
    "no folder's name": data(None, "ingest.source.folder: '' is not allowed", source=FOLDER | {"folder": ""}),
    "links that are no setting": data(
        None, "ingest.source.links: 'all'", "auto or inside or a list", source=FOLDER | {"links": "all"}
    ),
    "csv with other names": data(
        spoilt.csv(LISTED.replace(b".png", b"")),
        "ingest.source.labels: no row of labels.csv names a file of 'data'",
        "the csv says 'cats/0', the folder holds 'cats/0.png'; write the ending too",
        source=LABELS,
    ),
    "csv with semicolons": data(
        spoilt.csv(b"file;label\na;b\n"), "not file;label; its columns are separated by semicolons", source=LABELS
    ),
    "outside every class": data(
        spoilt.extra(spoilt.image(), "odd.png"), "odd.png: outside every class folder", *REJECTED
    ),
    "mixed resolutions": data(
        spoilt.extra(spoilt.image(height=9)), "ingest.resolution: the images differ: 8×8 (12), 9×8 (1)", resolution=None
    ),
    "mixed, resize none": data(
        spoilt.extra(spoilt.image(height=9)), "another resolution (9×8", *REJECTED, resize="none"
    ),
    "mixed channels": data(spoilt.extra(spoilt.image(mode="L")), "ingest.channels: the images differ: 3 (12), 1 (1)"),
    "odd resolution": data(
        spoilt.only(**{f"{name}_png": spoilt.image(number, height=15, width=15) for number, name in enumerate(FOUR)}),
        "families.dcgan: 15×15 is no base·2^k",
        "ingest.resolution: 16",
        resolution=None,
    ).after_packing(),
    "a single example": data(spoilt.only(a__1_png=spoilt.image(), b__2_png=spoilt.image()), "with 1 content", "data"),
    "one class": data(
        spoilt.only(a__1_png=spoilt.image(1), a__2_png=spoilt.image(2)),
        "families.dcgan.conditional: is true, and the data has one class, 'a'",
        "set it to false, or label the data",
    ),
    "unlabelled": data(None, "dcgan.conditional: is true", "no classes", source=FOLDER | {"labels": "none"}),
    "unlabelled for a classifier": Case(
        ("'classifier' learns from labels, and the data has no classes", "{name: random_projection}"),
        {"ingest.source": FOLDER | {"labels": "none"}, "families.dcgan.conditional": False, **BY_LABELS},
        data=lambda _: None,
    ),
    "limit of one": data(None, "ingest.limit: 1 is below the number of classes, 2", "take 4 or more", limit=1),
    "limit of one, whatever is left out": data(
        None, "1 content", "cannot be cut into train and holdout", limit=1, empty_classes="drop"
    ),
    "halves of two shapes": Case(
        ("1: two shapes (8×8, and its pair 16×8; crop them alike, or set ingest.resize: stretch)",),
        {"ingest.source": PAIRS, "ingest.resize": "center_crop", "families.dcgan.conditional": False},
        data=spoilt.only(input__1_png=spoilt.image(1, height=16), target__1_png=spoilt.image(2)),
    ),
    "floats beyond full scale": Case(
        ("6 of 6 items", "0.wav: louder than full scale (peak 32", "ingest.source.beyond: normalise or cut"),
        SOUND,
        data=spoilt.wavs(peak=32_767.0, bits=32),
    ),
    "opposite channels": Case(
        ("0.wav: channels cancel (0 %", "ingest.source.mix: first"), SOUND, data=spoilt.wavs(channels=2)
    ),
    "big-endian wav": Case(("no sound that can be read", "RIFX; save it"), SOUND, data=spoilt.wavs(head=b"RIFX")),
    "csv missing": data(None, "ingest.source.labels: 'labels.csv' does not exist", source=LABELS),
    "csv without columns": data(spoilt.csv(b"a,b\n1,2\n"), "needs the columns file,label, not a,b", source=LABELS),
    "csv without rows": data(spoilt.csv(b"file,label\n"), "ingest.source.labels", "holds no rows", source=LABELS),
    "csv not UTF-8": data(spoilt.csv(b"file,label\n\xff,\xfe\n"), "ingest.source.labels", "UTF-8", source=LABELS),
    "csv with a file twice": data(
        spoilt.csv(b"file,label\ncats/0.png,a\ncats/0.png,b\n"), "'cats/0.png' two labels, 'a' and 'b'", source=LABELS
    ),
    "csv names missing files": data(
        spoilt.csv(LISTED + b"cats/99.png,b\n"), "1 of 13", "cats/99.png: missing file", *REJECTED, source=LABELS
    ),
    "csv leaves the folder": data(
        spoilt.csv(LISTED + b"../secret.png,b\n"), "../secret.png: path leaving the folder", *REJECTED, source=LABELS
    ),
    "csv leaves files out": data(
        spoilt.csv(LISTED[: -len(b"dogs/5.png,b\n")]), "dogs/5.png: no label in the csv", *REJECTED, source=LABELS
    ),
}

BINARY = {
    "idx with wrong magic": data(spoilt.idx(magic=b"\1\2"), "images.idx is no idx file", "two zero", source=IDX),
    "idx cut short": data(spoilt.idx(cut=5), "images.idx is cut short", "(12, 8, 8), 763 values", source=IDX),
    "idx.gz cut short": data(spoilt.idx(zipped=300), "images.idx is damaged or cut short", "again", source=IDX),
    "idx with fewer labels": data(spoilt.idx(labels=11), "12 images", "labels.idx 11 labels", source=IDX),
    "idx labels beyond the classes": data(
        spoilt.idx(top=3), "unknown label (2, and there are 2 classes)", source=IDX | {"classes": ["a", "b"]}
    ),
    "idx as images of labels": data(
        spoilt.idx(), "labels.idx holds type 8 in 1 dimensions", source={"name": "idx", "images": "labels.idx"}
    ),
    "idx both ways": data(
        spoilt.idx(), "ingest.source: give either 'folder' or 'images'", source=IDX | {"folder": "data"}
    ),
    "idx neither way": data(None, "ingest.source", "'folder' or 'images'", source={"name": "idx"}),
    "idx folder without files": data(
        None, "ingest.source.folder: 'data' holds no train-images-idx3-ubyte", source={"name": "idx", "folder": "data"}
    ),
    "idx that unpacks to too much": data(
        spoilt.idx(zipped=10**6), "unpacks to more than 100 bytes", source=IDX | {"max_unpacked_bytes": 100}
    ),
    "cifar missing": data(None, "ingest.source.path: 'cifar.tar.gz' does not exist", source=CIFAR),
    "no archive": data(spoilt.csv(b"x"), "labels.csv is no whole tar", source=CIFAR | {"path": "labels.csv"}),
    "archive cut short": data(spoilt.archive(cut=9000), "cifar.tar.gz is no whole tar archive", source=CIFAR),
    "archive of pickles": data(spoilt.archive(("data_batch_1",)), "pickles, which are never read", source=CIFAR),
    "archive without batches": data(spoilt.archive(("a.bin",)), "cifar.tar.gz holds no data_batch", source=CIFAR),
    "archive leaving its folder": data(
        spoilt.archive(("data_batch_1.bin", "../data_batch_2.bin")), "path leaving the archive", source=CIFAR
    ),
    "archive that unpacks to too much": data(
        spoilt.archive(), "unpacks to more than 1000 bytes", source=CIFAR | {"max_unpacked_bytes": 1000}
    ),
    "record cut short": data(spoilt.archive(size=20 * 3073 + 100), "truncated record (100 of 3073", source=CIFAR),
}

ARTEFACTS = {
    "no manifest": artefact("reference", spoilt.gone("shards/manifest.json"), "manifest.json is missing; the ingest"),
    "manifest torn": artefact("tune", spoilt.torn("shards/manifest.json"), "manifest.json is not valid JSON"),
    "manifest of another format": artefact(
        "train", spoilt.changed("shards/manifest.json", format_version=99), "not a shard manifest of format 1", "again"
    ),
    "manifest without splits": artefact(
        "evaluate",
        spoilt.changed("shards/manifest.json", splits=None),
        "manifest.json: splits",
        "ingest stage again",
    ),
    "shard missing": artefact("reference", spoilt.gone("shards/train-000000.tar"), "train-000000.tar is missing"),
    "shard altered": artefact(
        "reference", spoilt.altered("shards/train-000000.tar"), "train-000000.tar has sha256", "ingest stage again"
    ),
    "shard cut short": artefact(
        "reference", spoilt.torn("shards/train-000000.tar"), "train-000000.tar has", "its manifest says", "again"
    ),
    "index altered": artefact("reference", spoilt.altered("shards/index-train.npy"), "index-train.npy has sha256"),
    "reference of other shards": artefact(
        "evaluate",
        spoilt.changed("reference/reference.json", manifest_sha256="0" * 64),
        "measured on other shards (manifest 000000000000…",
        "run the reference stage again",
    ),
    "reference of other shards, in train": artefact(
        "train", spoilt.changed("reference/reference.json", manifest_sha256="0" * 64), "measured on other shards"
    ),
    "reference torn": artefact("evaluate", spoilt.torn("reference/reference.json"), "reference.json is not valid JSON"),
    "reference cut down": artefact(
        "tune", spoilt.changed("reference/reference.json", extractor=None), "reference.json: extractor"
    ),
    "features altered": artefact(
        "evaluate", spoilt.altered("reference/train_features.npy"), "train_features.npy has sha256", "reference stage"
    ),
    "no reference": artefact("train", spoilt.gone("reference/reference.json"), "reference.json is missing"),
    "no best.yaml": artefact("train", spoilt.gone("search/best.yaml"), "best.yaml is missing; the tune stage makes it"),
    "best.yaml torn": artefact("train", spoilt.torn("search/best.yaml"), "best.yaml", "run the tune stage again"),
    "best.yaml not YAML": artefact(
        "train", spoilt.written("search/best.yaml", "format_version: ["), "best.yaml is not valid YAML", "tune stage"
    ),
    "best.yaml of another format": artefact(
        "evaluate", spoilt.written("search/best.yaml", "format_version: 99\n"), "not a search result of format 1"
    ),
    "best.yaml for other settings": artefact(
        "train",
        spoilt.written(
            "search/best.yaml",
            "{format_version: 1, note: '', repeatable: true, score: 1, trial: 0, overrides: {families.dcgan.lt: 1}}",
        ),
        "families.dcgan.lt: unknown key",
    ),
    "no model": artefact(
        "evaluate", spoilt.gone("model/model.json"), "model.json is missing; the train stage makes it"
    ),
    "model card torn": artefact("evaluate", spoilt.torn("model/model.json"), "model.json is not valid JSON"),
    "model card cut down": artefact(
        "register", spoilt.changed("model/model.json", spec=None), "model.json: spec", "train stage again"
    ),
    "model card of another format": artefact(
        "register", spoilt.changed("model/model.json", format_version=99), "not a model card of format 1"
    ),
    "weights altered": artefact(
        "evaluate", spoilt.altered("model/generator.safetensors"), "generator.safetensors has sha256", "train stage"
    ),
    "model of other data": artefact(
        "evaluate",
        spoilt.changed(
            "model/model.json", spec={"modality": "image", "shape": [1, 8, 8], "classes": [], "dtype": "uint8"}
        ),
        "does not fit the family 'gan'",
    ),
    "no scores": artefact("register", spoilt.gone("report/scores.json"), "scores.json is missing; the evaluate stage"),
    "scores torn": artefact("register", spoilt.torn("report/scores.json"), "scores.json is not valid JSON"),
    "scores cut down": artefact(
        "register", spoilt.changed("report/scores.json", scores=None), "scores.json is cut short"
    ),
    "no metrics.json": artefact("register", spoilt.gone("report/metrics.json"), "metrics.json is missing"),
    "a score that was not measured": artefact(
        "register",
        lambda _: None,
        "register.metric: the report holds no score 'frechet_random'",
        "did you mean 'frechet_random_projection'?",
        register__metric="frechet_random",
    ),
}

TABLE = [
    (f"{group}: {name}", case)
    for group, cases in {
        "file": FILES,
        "section": SECTIONS,
        "type": TYPES,
        "arithmetic": ARITHMETIC,
        "family": FAMILIES,
        "search": SEARCH,
        "setting": REST,
        "folder": FOLDERS,
        "binary": BINARY,
        "artefact": ARTEFACTS,
    }.items()
    for name, case in cases.items()
]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as five stages left it, to be copied."""
    root = tmp_path_factory.mktemp("made")
    spoilt.project(root)
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def prepare(root: Path, case: Case, made: Path) -> None:
    """The good project with the one thing that is wrong."""
    if case.artefacts:
        shutil.copytree(made / "artifacts", root / "artifacts")
        case.artefacts(root / "artifacts")
    else:
        spoilt.data(root)
    content = yaml.safe_dump(override(GOOD, case.settings)).encode() if case.file is None else case.file
    if case.stage != "no file":
        (root / "params.yaml").write_bytes(content)
    if case.data:
        case.data(root)


def go(root: Path, case: Case) -> None:
    """What a stage does with the project."""
    settings = params.load(root / "params.yaml")
    if case.artefacts:
        STAGES[case.stage].main(settings, runner.Project(root, case.stage, "0" * 64))
        return
    before_ingest(settings)
    if case.data:
        packing.ingest(settings.ingest, root / "artifacts/shards")
        after_ingest(settings, root / "artifacts/shards")


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and ".work" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_the_good_project_is_good(root: Path, made: Path) -> None:
    prepare(root, Case(()), made)
    go(root, Case((), data=lambda _: None))
    assert (root / "artifacts/shards/manifest.json").exists()


@pytest.mark.parametrize("case", [case for _, case in TABLE], ids=[name for name, _ in TABLE])
def test_it_is_refused_with_a_sentence(case: Case, root: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(root, case, made)
    before = contents(root)
    with pytest.raises(UserError) as raised:
        go(root, case)
    message = str(raised.value)
    assert [piece for piece in case.says if piece not in message] == [], message
    for speech in ("Input should be", "type=", "validation error", "Traceback", "function-", "constrained-"):
        assert speech not in message
    after = contents(root)
    new = {name for name, content in after.items() if content != before.get(name)}
    if not case.packed:
        assert new <= ({"artifacts/shards/rejects.csv"} if case.data else set())
    if "rejects.csv" in message:
        items = int(message.partition(" of ")[0].rpartition(" ")[2])
        assert len((root / "artifacts/shards/rejects.csv").read_text().splitlines()) == items + 1


@pytest.mark.parametrize(
    "case",
    [case for _, case in TABLE if REJECTED[0] in case.says],
    ids=[name for name, case in TABLE if REJECTED[0] in case.says],
)
def test_a_few_bad_items_are_set_aside_and_named(case: Case, root: Path, made: Path) -> None:
    tolerant = {**case.settings, "ingest.max_rejected_fraction": 0.5}
    prepare(root, replace(case, settings=tolerant), made)
    go(root, case)
    manifest = Manifest.load(root / "artifacts/shards")
    rows = (root / "artifacts/shards/rejects.csv").read_text().splitlines()
    assert sum(manifest.rejects.values()) == len(rows) - 1 == 1
    assert any(reason in piece for reason in manifest.rejects for piece in case.says)
    assert sum(split.examples for split in manifest.splits.values()) in (11, 12)


# --- as a shell sees it ---------------------------------------------------------------------------

SHELL = {
    "ingest": [
        ("an unknown key", {"train.batchsize": 3}, None, "train.batchsize: unknown key; did you mean 'batch_size'?"),
        ("no such folder", {"ingest.source.folder": "nowhere"}, None, "'nowhere' does not exist"),
        (
            "all broken",
            {"run.num_workers": 1},
            spoilt.only(a__1_png=b"x", b__2_png=b"y"),
            "2 of 2 items cannot be used",
        ),
    ],
    "reference": [("no shards", {}, None, "manifest.json is missing; the ingest stage makes it")],
    "tune": [("set and searched", {DCGAN_LR: 1e-3}, None, f"{DCGAN_LR}: is set to 0.001 and also searched")],
    "train": [("lanes", {"run.num_workers": 3}, None, "run.num_workers: 3 workers cannot share train.lanes: 2")],
    "evaluate": [("a metric", {"evaluate.metrics": [{"name": "fid"}]}, None, "there is no metric 'fid'")],
    "register": [("an alias", {"register.champion": "v1"}, None, "register.champion: 'v1' is no alias")],
}
SECONDS = 8.0  # of the processor, which a busy machine does not stretch; about 2 on an idle one


@pytest.mark.slow  # a process of its own each
@pytest.mark.parametrize(
    ("stage", "settings", "spoil", "says"),
    [(stage, *row[1:]) for stage, rows in SHELL.items() for row in rows],
    ids=[f"{stage}: {row[0]}" for stage, rows in SHELL.items() for row in rows],
)
def test_a_shell_sees_a_sentence_and_exit_code_2(
    stage: str, settings: dict[str, Any], spoil: Callable[[Path], None] | None, says: str, root: Path, made: Path
) -> None:
    prepare(root, Case((), settings, data=spoil), made)
    shutil.copy(ROOT / "dvc.yaml", root)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"\n{stage}: ")
    assert says in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS


def test_the_table_is_long() -> None:
    assert len({name for name, _ in TABLE}) == len(TABLE) >= 70
