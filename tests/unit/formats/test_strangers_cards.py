"""Cards and manifests that strangers wrote: a wrong field is named, and nothing outside the folder is opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.contract.extractor import ExtractorIdentity
from pipeline.contract.moments import Moments
from pipeline.errors import BrokenArtefact
from pipeline.formats import checkpoint, model, reference, report, search, shards, statistics
from pipeline.formats.checkpoint import Checkpoint, CheckpointStore
from pipeline.formats.model import ModelCard
from pipeline.storage.files import sha256_file
from pipeline.types import DataSpec, Example

SPEC = DataSpec("image", (1, 2, 2), ("a", "b"))
HASH = "0" * 64

ODD: list[Any] = [None, [], {}, "x", 1.5, True, -1, 2**70, [[]], {"": 0}, [None]]


def a_model(folder: Path) -> Path:
    card = ModelCard("gan", {}, SPEC, (), 64, 1, 0, True, {"manifest": HASH}, {})
    model.save_model(folder, card, {"generator": {"w": torch.zeros(2)}})
    return folder / "model.json"


def a_reference(folder: Path) -> Path:
    measured = reference.Measured(np.ones((4, 3), np.float32), np.zeros(4, np.int64))
    counts = {"train": 4, "holdout": 4}
    card = reference.ReferenceCard(HASH, SPEC, "random_projection", {}, "", 3, "none", 0, 1, counts, {})
    reference.save_reference(folder, card, {"w": torch.zeros(2)}, dict.fromkeys(counts, measured))
    return folder / "reference.json"


def a_manifest(folder: Path) -> Path:
    examples = [Example(f"{number:06d}", np.zeros(SPEC.shape, np.uint8), 0) for number in range(3)]
    shard, rows = shards.write_shard(folder / shards.shard_name("train", 0), examples, 1)
    index, sha256 = shards.write_index(folder, "train", np.insert(rows, 0, 0, axis=1))
    split = shards.Split("train", 3, (shard,), index, sha256, {"a": 3})
    shards.Manifest(SPEC, {"train": split}, {"name": "x"}, {}, {"policy": "keep"}, {}).save(folder)
    return folder / shards.MANIFEST


def some_scores(folder: Path) -> Path:
    identity = ExtractorIdentity("classifier", HASH, 64)
    record = report.ScoreRecord("fid", 1.0, 0.1, 4, 4, "train", identity, "none", 0, 1, True, 1.0, "1")
    report.save_scores(folder, [record])
    return folder / "scores.json"


def seen_before(folder: Path) -> Path:
    statistics.save_seen(folder, statistics.Seen(Moments.of(np.ones((4, 3))), None, None, None))
    return folder / statistics.CARD


CARDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "model": (a_model, lambda folder: model.load_states(folder, model.load_card(folder))),
    "reference": (a_reference, reference.Reference.load),
    "shards": (a_manifest, shards.verify),
    "scores": (some_scores, report.load_scores),
    "statistics": (seen_before, statistics.load_seen),
}


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document; what is in free sections (config, report, settings, provenance…) is its owner's."""
    free = {"config", "report", "settings", "provenance", "packing", "source", "duplicates", "identity"}
    found = [path] if path else []
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        found += [(*path, key)] if key in free else places(value, (*path, key))
    return found


@pytest.mark.parametrize("kind", CARDS)
def test_any_field_of_another_type_is_a_broken_artefact_or_as_good(kind: str, tmp_path: Path) -> None:
    write, read = CARDS[kind]
    path = write(tmp_path / "whole")
    read(path.parent)
    whole = json.loads(path.read_text())
    refused = 0
    for place in places(whole):
        for odd in ODD:
            content = json.loads(json.dumps(whole))
            target = content
            for key in place[:-1]:
                target = target[key]
            target[place[-1]] = odd
            path.write_text(json.dumps(content))
            try:
                read(path.parent)
            except BrokenArtefact:
                refused += 1
    assert refused > 5 * len(places(whole)), "most of these are no values of such a field"
    for place in places(whole):
        if isinstance(place[-1], int):
            continue
        content = json.loads(json.dumps(whole))
        target = content
        for key in place[:-1]:
            target = target[key]
        target[f"{place[-1]}/../x"] = target.pop(place[-1])
        path.write_text(json.dumps(content))
        try:
            read(path.parent)
        except BrokenArtefact:
            continue
        assert place[-2] in {"histogram", "counts"}, f"{place} may have another name"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"files": {}}, "files"),
        ({"files": {"../outside": HASH}}, "files"),
        ({"files": {"generator.safetensors": HASH, "/etc/hostname": HASH}}, "files"),
        ({"files": {"generator.safetensors": "0" * 12}}, "files"),
        ({"networks": ["../generator"]}, "networks"),
        ({"networks": ["generator", "generator"]}, "networks"),
        ({"networks": []}, "networks"),
        ({"networks": "generator"}, "networks"),
        ({"family": "../gan"}, "family"),
        ({"spec": {"modality": "image", "shape": ["1", 2, 2], "classes": [], "dtype": "uint8"}}, "spec"),
        ({"spec": {"modality": "image", "shape": [1, 10**9, 10**9], "classes": [], "dtype": "uint8"}}, "spec"),
        ({"spec": {"modality": "image", "shape": [1, 0, 2], "classes": [], "dtype": "uint8"}}, "spec"),
        ({"examples_seen": -1}, "examples_seen"),
        ({"step": 2**63}, "step"),
        ({"averaged": "yes"}, "averaged"),
        ({"further": 1}, "further"),
    ],
)
def test_a_model_card_with_a_wrong_field_names_it(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    path = a_model(tmp_path / "model")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BrokenArtefact, match=field):
        model.load_card(path.parent)


def test_a_card_tells_nothing_of_a_file_outside(tmp_path: Path) -> None:
    """Neither by a name that leads out, nor by a link: no digit of the other file's hash is told."""
    secret = tmp_path / "secret"
    secret.write_text("password")
    path = a_model(tmp_path / "model")
    weights = path.with_name("generator.safetensors")
    weights.unlink()
    weights.symlink_to(secret)
    with pytest.raises(BrokenArtefact) as refused:
        model.load_states(path.parent, model.load_card(path.parent))
    assert sha256_file(secret)[:8] not in str(refused.value)


def test_weights_that_are_none_but_have_their_hash_are_refused(tmp_path: Path) -> None:
    path = a_model(tmp_path / "model")
    weights = path.with_name("generator.safetensors")
    weights.write_bytes(b"\xff" * 100)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "files": {weights.name: sha256_file(weights)}}))
    with pytest.raises(BrokenArtefact, match="cannot be read"):
        model.load_states(path.parent, model.load_card(path.parent))


@pytest.mark.parametrize("dotted", ["run.storage", "ingest.source.folder", "register.name", "tune", "x"])
def test_a_search_result_changes_no_section_but_those_that_are_searched(dotted: str, tmp_path: Path) -> None:
    """`run.storage` would send the work to a stranger's bucket."""
    for best in (
        search.Best({dotted: "s3://theirs/x"}),
        search.Best({}, schedule=[{"from": 64, "overrides": {dotted: "s3://theirs/x"}}]),
    ):
        search.save_best(tmp_path, best)
        with pytest.raises(BrokenArtefact, match="can be searched"):
            search.load_best(tmp_path)
    search.save_best(tmp_path, search.Best({"train.lr": 0.1, "families.gan.latent": 8}, 1.5, 3))
    assert search.load_best(tmp_path).overrides == {"train.lr": 0.1, "families.gan.latent": 8}


def saved(folder: Path) -> tuple[CheckpointStore, Path]:
    store = CheckpointStore(folder)
    state = {"examples_seen": 64, "began": 32}
    return store, store.save(Checkpoint({"weights": {"w": torch.ones(2)}}, state, [{"loss": 1.0}]))


def test_a_checkpoint_holds_what_its_manifest_names_and_nothing_else(tmp_path: Path) -> None:
    store, path = saved(tmp_path)
    (path / "stray.safetensors").write_bytes((path / "weights.safetensors").read_bytes())
    assert list(checkpoint.load(path).tensors) == ["weights"]
    assert store.latest(print) == path


@pytest.mark.parametrize(
    "manifest",
    [
        {"format_version": 1, "files": {"../secret": HASH}},
        {"format_version": 1, "files": {}},
        {"format_version": 1, "files": []},
        {"format_version": 1, "files": {"state.json": 1}},
        {"format_version": [1], "files": {}},
        [],
    ],
)
def test_a_checkpoint_with_a_wrong_manifest_is_broken(manifest: Any, tmp_path: Path) -> None:
    store, path = saved(tmp_path)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BrokenArtefact):
        checkpoint.load(path)
    said: list[str] = []
    assert store.latest(said.append) is None
    assert len(said) == 1
