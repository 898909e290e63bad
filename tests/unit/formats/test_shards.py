from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BrokenArtefact
from pipeline.formats import shards
from pipeline.formats.shards import Manifest, Split
from pipeline.types import DataSpec, Example

SPEC = DataSpec("image", (3, 4, 5), ("a", "b"))


def example(number: int, channels: int = 3) -> Example:
    x = np.random.default_rng(number).integers(0, 256, (channels, 4, 5), dtype=np.uint8)
    return Example(f"{number:08d}-name", x, number % 2)


def packed(folder: Path, examples: int = 5) -> Manifest:
    """One shard a split, hand-made."""
    splits: dict[str, Split] = {}
    for name in ("train", "holdout"):
        shard, rows = shards.write_shard(
            folder / shards.shard_name(name, 0), (example(number) for number in range(examples)), png_level=6
        )
        index, sha256 = shards.write_index(folder, name, np.insert(rows, 0, 0, axis=1))
        splits[name] = Split(name, examples, (shard,), index, sha256, {"a": 3, "b": 2})
    manifest = Manifest(SPEC, splits, {"name": "made"}, {"resize": "none"}, {"examples": 0}, {})
    manifest.save(folder)
    return manifest


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_offsets_point_at_the_data_of_x(tmp_path: Path, channels: int) -> None:
    examples = [example(number, channels) for number in range(7)]
    shard, rows = shards.write_shard(tmp_path / "s.tar", examples, png_level=6)
    data = (tmp_path / "s.tar").read_bytes()
    assert (shard.bytes, shard.examples, shard.sha256) == (len(data), 7, hashlib.sha256(data).hexdigest())
    spec = DataSpec("image", (channels, 4, 5))
    for (offset, length, label), expected in zip(rows.tolist(), examples, strict=True):
        assert np.array_equal(shards.decode(data[offset : offset + length], spec.x, "here"), expected.x)
        assert label == expected.label
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert [member.offset_data for member in tar.getmembers() if member.name.endswith(".png")] == rows[
            :, 0
        ].tolist()
        assert tar.getnames()[:2] == ["00000000-name.png", "00000000-name.cls"]


def test_an_unlabelled_example_has_no_cls(tmp_path: Path) -> None:
    _, rows = shards.write_shard(tmp_path / "s.tar", [Example("k", np.zeros((6,), dtype=np.float32))], png_level=6)
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert tar.getnames() == ["k.npy"]
    assert rows[0, 2] == -1


@pytest.mark.parametrize("level", [0, 1, 9])
def test_png_is_lossless_at_every_level(level: int) -> None:
    extension, data = shards.encode(example(1).x, level)
    assert extension == "png"
    assert np.array_equal(shards.decode(data, SPEC.x, "here"), example(1).x)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (DataSpec("voxels", (1, 2, 3, 4), dtype="float32"), (1, 2, 3, 4)),
        (DataSpec("rows", (5,), dtype="float32"), (5,)),
    ],
)
def test_other_modalities_travel_as_npy(spec: DataSpec, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    extension, data = shards.encode(x)
    assert extension == "npy"
    assert np.array_equal(shards.decode(data, spec.x, "here"), x)
    with pytest.raises(BrokenArtefact, match="cannot be decoded"):
        shards.decode(data[:-1], spec.x, "here")


def test_a_pickle_in_an_npy_is_not_loaded() -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BrokenArtefact, match="here cannot be decoded"):
        shards.decode(buffer.getvalue(), DataSpec("rows", (1,), dtype="float32").x, "here")


def test_another_shape_than_the_manifests_is_refused() -> None:
    _, data = shards.encode(example(0).x)
    with pytest.raises(BrokenArtefact, match=r"here .*4×5.* its manifest says \(3, 4, 4\)"):
        shards.decode(data, DataSpec("image", (3, 4, 4)).x, "here")


def test_a_failing_writer_leaves_no_shard(tmp_path: Path) -> None:
    def failing():
        yield example(0)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        shards.write_shard(tmp_path / "s.tar", failing(), png_level=6)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    manifest = packed(tmp_path)
    assert Manifest.load(tmp_path) == manifest == shards.verify(tmp_path)
    assert manifest.sha256 == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
    assert manifest.split("train").examples == 5
    with pytest.raises(BrokenArtefact, match="no split 'trian' in the shards; did you mean 'train'"):
        manifest.split("trian")


@pytest.mark.parametrize("name", ["train-000000.tar", "holdout-000000.tar", "index-train.npy"])
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_verify_notices_every_damage(tmp_path: Path, name: str, damage: str) -> None:
    packed(tmp_path)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-512] if name.endswith("tar") else data[:-1])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(BrokenArtefact, match=name.replace(".", r"\.")):
        shards.verify(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "not a shard manifest of format 1"),
        ({"splits": {"train": {}}}, "manifest.json: splits\\.train\\.name"),
        ({"splits": []}, "manifest.json: splits"),
        ({"spec": {"modality": "image"}}, "manifest.json: spec\\.shape"),
        ({"extra": 1}, "manifest.json: extra"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    data = packed(tmp_path).to_json()
    (tmp_path / "manifest.json").write_text(json.dumps({**data, **change}))
    with pytest.raises(BrokenArtefact, match=message):
        Manifest.load(tmp_path)


def test_no_or_torn_manifest(tmp_path: Path) -> None:
    with pytest.raises(BrokenArtefact, match="is missing; the ingest stage makes it"):
        Manifest.load(tmp_path)
    packed(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BrokenArtefact, match="is not valid JSON"):
        Manifest.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(BrokenArtefact, match="not a shard manifest"):
        Manifest.load(tmp_path)


def test_a_manifest_that_points_outside_its_folder_is_refused(tmp_path: Path) -> None:
    packed(tmp_path)
    text = (tmp_path / "manifest.json").read_text().replace("train-000000.tar", "../train-000000.tar")
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BrokenArtefact, match="must be a plain file name"):
        Manifest.load(tmp_path)
