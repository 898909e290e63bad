from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.contract.moments import Moments
from pipeline.errors import BrokenArtefact, UserError
from pipeline.formats.reference import Measured, Reference, ReferenceCard, save_reference
from pipeline.types import DataSpec

rows = arrays(np.float64, st.tuples(st.integers(4, 30), st.just(3)), elements=st.floats(-50, 50, width=32))


def saved(folder: Path, manifest: str = "a1" * 32) -> ReferenceCard:
    draw = np.random.default_rng(0)
    card = ReferenceCard(
        manifest_sha256=manifest,
        spec=DataSpec("image", (1, 2, 2), ("a", "b")),
        extractor="random_projection",
        config={"dimension": 3},
        extractor_sha256="",
        dimension=3,
        resize="none",
        seed=0,
        threads=1,
        counts={"train": 20, "holdout": 6},
        report={},
    )
    splits = {
        split: Measured(draw.normal(size=(n, 3)).astype(np.float32), np.arange(n) % 2)
        for split, n in (("train", 20), ("holdout", 6))
    }
    return save_reference(folder, card, {"directions": torch.eye(4)[:, :3]}, splits)


@given(rows)
@settings(deadline=None)
def test_moments_are_numpys_mean_and_cov(x: np.ndarray) -> None:
    found = Moments.of(x, chunk=7)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-9)


@given(rows, st.integers(1, 3))
@settings(deadline=None)
def test_merging_parts_is_seeing_the_whole(x: np.ndarray, cut: int) -> None:
    merged = Moments.of(x[:cut]).merge(Moments.of(x[cut:]))
    whole = Moments.of(x)
    assert merged.count == whole.count == len(x)
    np.testing.assert_allclose(merged.sum, whole.sum, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(merged.outer, whole.outer, rtol=1e-12, atol=1e-9)


def test_merging_changes_neither() -> None:
    a, b = Moments.of(np.ones((2, 2))), Moments.of(np.zeros((3, 2)))
    a.merge(b)
    assert (a.count, b.count, a.sum.tolist()) == (2, 3, [2.0, 2.0])


def test_too_few_examples_say_so() -> None:
    with pytest.raises(UserError, match="at least 2 examples, and here is 1"):
        _ = Moments.of(np.ones((1, 2))).covariance
    with pytest.raises(UserError, match="there is none"):
        _ = Moments.empty(2).mean


def test_a_reference_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    card = saved(tmp_path / "reference")
    found = Reference.load(tmp_path / "reference", "a1" * 32)
    assert found.card == card
    assert found.key == card.identify()
    assert found.features("train").shape == (20, 3)
    assert found.labels("holdout").tolist() == [0, 1, 0, 1, 0, 1]
    assert found.moments("train").count == 20
    np.testing.assert_allclose(found.moments("train").covariance, np.cov(found.features("train"), rowvar=False))
    features, logits = found.extractor().features(torch.arange(8.0).reshape(2, 1, 2, 2))
    assert features.tolist() == [[0.0, 1.0, 2.0], [4.0, 5.0, 6.0]]
    assert logits is None


def test_the_same_measurements_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        saved(tmp_path / name)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_key_is_the_content(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "one"), saved(tmp_path / "two", "b2" * 32)
    assert one.key != other.key
    assert one.extractor_sha256 == other.extractor_sha256


def test_other_shards_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "reference")
    with pytest.raises(BrokenArtefact, match=r"measured on other shards .*run the reference stage again"):
        Reference.load(tmp_path / "reference", "c3" * 32)


@pytest.mark.parametrize("name", ["extractor.safetensors", "moments.safetensors", "train_features.npy"])
def test_a_changed_or_missing_file_is_noticed(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "reference")
    path = tmp_path / "reference" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenArtefact, match=name):
        Reference.load(tmp_path / "reference")
    path.unlink()
    with pytest.raises(BrokenArtefact, match="is missing"):
        Reference.load(tmp_path / "reference")


@pytest.mark.parametrize("content", ["[]", '{"format_version": 9}', '{"format_version": 1}', "{"])
def test_a_card_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    saved(tmp_path / "reference")
    (tmp_path / "reference" / "reference.json").write_text(content)
    with pytest.raises(BrokenArtefact, match=r"reference\.json"):
        Reference.load(tmp_path / "reference")


def test_a_card_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "reference")
    path = tmp_path / "reference" / "reference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": 1}))
    with pytest.raises(BrokenArtefact, match="extra"):
        Reference.load(tmp_path / "reference")
