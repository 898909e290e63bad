"""The readers of strangers' bytes: of each, files that it reads rightly, how they are changed, how it is called."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import mutations as change
import numpy as np
import pyarrow as pa
import torch
from mutations import Mutate
from PIL import Image
from pyarrow import parquet as parquet_form
from safetensors.torch import save

from pipeline import params
from pipeline.assets import inception
from pipeline.data import clips, images, label_maps, voxels, waves
from pipeline.data.batches import Reader as Shards
from pipeline.data.source import Limits
from pipeline.data.sources import (
    _captions,
    _labels,
    _tables,
    archive,
    cifar10,
    csv,
    idx,
    image_folder,
    parquet,
    parquet_table,
    webdataset,
)
from pipeline.errors import Rejected, UserError
from pipeline.formats import model, reference, report, search, shards, statistics
from pipeline.registry.lineage import read_lock
from pipeline.scoring import inputs, precomputed
from pipeline.storage import files, tensors, yaml_text
from pipeline.types import DataSpec, Example

STRUCT = [("bytes", pa.binary()), ("path", pa.string())]
ROOT = Path(__file__).parents[2]
SPEC = DataSpec("image", (3, 4, 5), ("a", "b"))


@dataclass(frozen=True)
class Reader:
    """seeds: what is changed. changes: ways to do so, one drawn for each input. read: what a command does with it."""

    seeds: Callable[[], tuple[bytes, ...]]
    changes: tuple[Mutate, ...]
    read: Callable[[bytes, Path], object]


def _pixels(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, dtype=np.uint8)


def _saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@cache
def pictures() -> tuple[bytes, ...]:
    rgb, grey, rgba = (Image.fromarray(_pixels(9, 7, *rest)) for rest in ((3,), (), (4,)))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        _saved(image, "PNG") for image in (rgb, grey, rgba, rgb.convert("P"), grey.convert("1"), grey.convert("LA"))
    ]
    kinds += [_saved(Image.fromarray(_pixels(9, 7).astype(np.uint16) * 257), "PNG")]
    kinds += [_saved(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90), rgb])]
    kinds += [_saved(image, "JPEG", exif=exif) for image in (rgb, grey, rgb.convert("CMYK"))]
    kinds += [
        _saved(rgb, "JPEG", progressive=True, quality=95),
        _saved(rgb, "GIF"),
        _saved(rgb, "BMP"),
        _saved(rgb, "TIFF"),
    ]
    kinds += [
        _saved(rgba, "WEBP", lossless=True),
        _saved(rgb, "WEBP"),
        _saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(9)]),
    ]
    return tuple(kinds)


def wav(encoding: int, bits: int, channels: int = 1, count: int = 40, kind: bytes = b"RIFF") -> bytes:
    data = (
        (np.linspace(-1, 1, count * channels)).astype("<f4").tobytes()
        if encoding == 3 and bits == 32
        else bytes(count * channels * bits // 8)
    )
    form = struct.pack("<HHIIHH", encoding, channels, 8000, 8000 * channels * bits // 8, channels * bits // 8, bits)
    chunks = b"ds64" + struct.pack("<IQQQI", 28, 0, len(data), count, 0) if kind == b"RF64" else b""
    chunks += b"LIST" + struct.pack("<I", 4) + b"INFO" + b"fmt " + struct.pack("<I", len(form)) + form
    told = 0xFFFFFFFF if kind == b"RF64" else len(data)
    chunks += b"data" + struct.pack("<I", told) + data
    return kind + struct.pack("<I", 0xFFFFFFFF if kind == b"RF64" else 4 + len(chunks)) + b"WAVE" + chunks


@cache
def sounds() -> tuple[bytes, ...]:
    kinds = [wav(1, bits) for bits in (8, 16, 24, 32)] + [
        wav(3, 32),
        wav(3, 64),
        wav(1, 16, 2),
        wav(1, 16, kind=b"RF64"),
    ]
    return (*kinds, wav(3, 32, 2, 7), wav(17, 4, 1, 64), b"RIFX" + wav(1, 16)[4:])


def _sound(data: bytes, folder: Path) -> None:
    path = folder / "x.wav"
    path.write_bytes(data)
    header = waves.read_header(path)
    x, _ = waves.decode(data, "normalise")
    assert header.samples == x.shape[1]
    for mix in ("mean", "first"):
        waves.to_peak(waves.with_length(waves.with_channels(x, 1, mix), 16, "center", "both"))


@cache
def compressed() -> tuple[bytes, ...]:
    """A tone in each form that libsndfile decodes for us."""
    import soundfile

    def written(form: str, subtype: str, channels: int) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(800))[:, None].repeat(channels, 1) / 2, 8000, subtype, format=form)
        return file.getvalue()

    kinds = (("FLAC", "PCM_16", 1), ("FLAC", "PCM_24", 2), ("OGG", "VORBIS", 1), ("OGG", "OPUS", 1))
    return tuple(written(*kind) for kind in kinds)


@cache
def grids() -> tuple[bytes, ...]:
    """Grids of 4 × 4 × 4 cells in each form."""
    cells = np.arange(64).reshape(4, 4, 4) % 3 == 0
    held: list[bytes] = []
    for save_as in (np.save, np.savez, np.savez_compressed):
        file = io.BytesIO()
        save_as(file, cells)
        held.append(file.getvalue())
    return (*held, b"#binvox 1\ndim 4 4 4\ntranslate 0 0 0\nscale 1\ndata\n" + bytes([0, 30, 1, 4, 0, 30]))


def _grid(data: bytes, folder: Path) -> None:
    name = "x.npz" if data.startswith(b"PK") else "x.npy"
    grid = voxels.occupancy(voxels.decode(data, name, 10**6), 10**6)
    assert grid.dtype == np.uint8
    if all(side % 2 == 0 for side in grid.shape):
        voxels.pooled(grid, (grid.shape[0] // 2, grid.shape[1] // 2, grid.shape[2] // 2), "mean")


@cache
def moving() -> tuple[bytes, ...]:
    """Three frames in each form."""
    first, *rest = (Image.fromarray(_pixels(9, 7, 3) // number) for number in (1, 2, 3))
    kinds = ({"format": "GIF"}, {"format": "WEBP", "lossless": True}, {"format": "PNG"})
    return tuple(_saved(first, save_all=True, append_images=rest, form=each.pop("format"), **each) for each in kinds)


def _clip(data: bytes, folder: Path) -> None:
    found = clips.animated(data, clips.Cut(2, 1, 0, 10**6), Limits(max_pixels=10**5))
    assert found.shape[0] == 2
    assert found.shape[3] in (1, 3, 4)


def idx_file(values: np.ndarray[Any, Any]) -> bytes:
    return (
        struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    )


@cache
def idx_seeds() -> tuple[bytes, ...]:
    plain = (idx_file(_pixels(6, 4, 5)), idx_file(_pixels(2, 4, 5, 3)), idx_file(_pixels(6)))
    return (*plain, *(gzip.compress(each, 1) for each in plain))


def _idx(data: bytes, folder: Path) -> None:
    (folder / "images").write_bytes(data)
    (folder / "labels").write_bytes(idx_file(_pixels(6)))
    for labels in (None, str(folder / "labels")):
        source = idx.Source(idx.Config(images=str(folder / "images"), labels=labels, max_unpacked_bytes=2**20))
        source.check()
        for entry in list(source.entries())[:20]:
            if entry.problem is None:
                source.read(entry, Limits())


def tar_file(form: int = tarfile.USTAR_FORMAT, name: str = "cifar-10-batches-bin/") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for member, content in (
            ("batches.meta.txt", b"cat\ndog\n"),
            ("data_batch_1.bin", bytes([1]) + bytes(3072) + bytes([0]) + bytes(3072)),
            ("test_batch.bin", bytes([1]) + bytes(3072)),
        ):
            info = tarfile.TarInfo(name + member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


@cache
def tars() -> tuple[bytes, ...]:
    plain = tar_file()
    long = [tar_file(form, "long/" * 40) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    return (plain, *long, gzip.compress(plain, 1), gzip.compress(long[1], 1), bz2.compress(plain), lzma.compress(plain))


def _tar(data: bytes, folder: Path) -> None:
    path = folder / "cifar.tar"
    path.write_bytes(data)
    source = cifar10.Source(cifar10.Config(path=str(path), part="all", max_unpacked_bytes=2**22))
    source.check()
    for entry in source.entries()[:20]:
        if entry.problem is None:
            source.read(entry, Limits())


def _pictured(name: str, way: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", way) as found:
        for number, picture in enumerate(pictures()[:3]):
            found.writestr(f"{name}/{number % 2}/{number}.png", picture)
        found.writestr("dataset.json", json.dumps({"labels": [[f"{name}/0/0.png", 1], [f"{name}/1/1.png", 2]]}))
    return file.getvalue()


@cache
def picture_archives() -> tuple[bytes, ...]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, picture in enumerate(pictures()[:3]):
            info = tarfile.TarInfo(f"{'x' * 60 * number}/{number}.png")
            info.size = len(picture)
            tar.addfile(info, io.BytesIO(picture))
    plain = file.getvalue()
    return (_pictured("00000"), _pictured("a" * 90, zipfile.ZIP_STORED), plain, gzip.compress(plain, 1))


def _archive(data: bytes, folder: Path) -> None:
    path = folder / "x.zip"
    path.write_bytes(data)
    with in_own_cache(folder):
        source = archive.Source(archive.Config(path=str(path), max_unpacked_bytes=2**22))
        source.check()
        source.classes()
        for entry in source.entries()[:20]:
            if entry.problem is None:
                source.fetch(entry, Limits())


@cache
def sample_shards() -> tuple[bytes, ...]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, picture in enumerate(pictures()[:2]):
            members = {
                "png": picture,
                "cls": b"1",
                "json": b'{"label": 1, "said": ["a", "b"]}',
                "txt": b"a cat",
                "pyd": b"x",
            }
            for suffix, data in members.items():
                info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return (file.getvalue(), gzip.compress(file.getvalue(), 1))


def _samples(data: bytes, folder: Path) -> None:
    path = folder / "x.tar"
    path.write_bytes(data)
    with in_own_cache(folder):
        for labels, said in (("auto", None), ("json.label", None), ("none", "json.said"), ("none", "txt")):
            source = webdataset.Source(
                webdataset.Config(urls=str(path), labels=labels, captions=said, max_unpacked_bytes=2**22)
            )
            source.check()
            source.classes()
            source.passed_over()
            for entry in source.entries()[:20]:
                if entry.problem is None:
                    source.decode_fields(source.fetch(entry, Limits()), Limits())


@cache
def parquet_files() -> tuple[bytes, ...]:
    held = pa.array([{"bytes": each, "path": "x"} for each in pictures()[:6]], pa.struct(STRUCT))
    features = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}, "image": {"_type": "Image"}}
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    hub = pa.table({"image": held, "label": [0, 1] * 3}).replace_schema_metadata(described)
    text = pa.table({"image": [*pictures()[:3]] * 2, "label": ["a", "b", "a"] * 2})
    said = pa.table({"image": pictures()[:3], "said": pa.array([["a", "b"], [], None], pa.list_(pa.string()))})
    kinds: list[tuple[pa.Table, dict[str, Any]]] = [
        (hub, {}),
        (said, {}),
        (hub, {"compression": "zstd", "use_dictionary": False, "data_page_version": "2.0"}),
        (text, {"compression": "none", "row_group_size": 2}),
    ]
    found: list[bytes] = []
    for table, options in kinds:
        file = io.BytesIO()
        parquet_form.write_table(table, file, **options)
        found.append(file.getvalue())
    return tuple(found)


def _parquet(data: bytes, folder: Path) -> None:
    path = folder / "x.parquet"
    path.write_bytes(data)
    with in_own_cache(folder):
        for said in (None, *_tables.head(path).texts[:2]):
            config = parquet.Config(path=str(path), captions=said, max_unpacked_bytes=2**22, max_captions_bytes=2**22)
            source = parquet.Source(config)
            source.check()
            source.classes()
            for entry in source.entries()[:20]:
                if entry.problem is None:
                    source.decode_fields(source.fetch(entry, Limits()), Limits())


@contextmanager
def in_own_cache(folder: Path) -> Iterator[None]:
    """What is unpacked goes where it is removed with the input."""
    before = os.environ.get("ZEROSUM_CACHE")
    os.environ["ZEROSUM_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        if before is None:
            del os.environ["ZEROSUM_CACHE"]
        else:
            os.environ["ZEROSUM_CACHE"] = before


@cache
def npys() -> tuple[bytes, ...]:
    return tuple(
        _npy(np.ones(shape, kind)) for shape, kind in (((3, 4), "<f4"), ((5,), "<i8"), ((2, 2), ">f8"), ((3,), "<U4"))
    )


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@cache
def npzs() -> tuple[bytes, ...]:
    kinds: list[dict[str, Any]] = [
        {"mu": np.zeros(3), "sigma": np.eye(3), "n": np.int64(5), "source": "someone"},
        {"features": np.ones((4, 3), np.float32), "labels": np.zeros(4, np.int64)},
        {"logits": np.ones((4, 3)), "probabilities": np.full((4, 2), 0.5)},
    ]
    found: list[bytes] = []
    for arrays in kinds:
        for save_as in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            save_as(file, **arrays)
            found.append(file.getvalue())
    return tuple(found)


def _npz(data: bytes, folder: Path) -> None:
    path = folder / "x.npz"
    path.write_bytes(data)
    try:
        precomputed.read_statistics(path, "reference.statistics", 3)
    except UserError:
        inputs._arrays(path, "fake")


def _rows(data: bytes, folder: Path) -> None:
    path = folder / "x.npy"
    path.write_bytes(data)
    inputs._arrays(path, "fake")


@cache
def safe() -> tuple[bytes, ...]:
    state = {"Conv2d_1a_3x3.weight": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.int64)}
    return save(state), save(state, {"zerosum": '{"source_sha256": "0"}'}), save({"x": torch.zeros(0)})


def _safe(data: bytes, folder: Path) -> None:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    tensors.read_arrays(path)
    tensors.read(path)


def _weights(data: bytes, folder: Path) -> None:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    inception.read(path)


@cache
def pickles() -> tuple[bytes, ...]:
    found: list[bytes] = []
    for kind in (True, False):
        file = io.BytesIO()
        torch.save(
            {"fc.weight": torch.zeros(3, 2), "fc.bias": torch.zeros(3)}, file, _use_new_zipfile_serialization=kind
        )
        found.append(file.getvalue())
    return tuple(found)


def _pickle(data: bytes, folder: Path) -> None:
    path = folder / "x.pth"
    path.write_bytes(data)
    inception.read(path)


def _params(data: bytes, folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_bytes(data)
    params.check(params.read(path))


@cache
def bests() -> tuple[bytes, ...]:
    line = [{"from": 100, "overrides": {"train.lr": 1e-4}}]
    best = search.Best({"families.dcgan.lr": 1e-3, "train.x": [1, 2]}, 1.5, 2, True, "note", line)
    return (_written(lambda folder: search.save_best(folder, best), "best.yaml"), (ROOT / "dvc.lock").read_bytes())


def _written(write: Callable[[Path], object], name: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return (Path(folder) / name).read_bytes()


def _best(data: bytes, folder: Path) -> None:
    for name in ("best.yaml", "dvc.lock"):
        (folder / name).write_bytes(data)
    read_lock(folder)
    search.load_best(folder)


def _table(data: bytes, folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_bytes(data)
    _labels.met(_labels.rows(path), ["a.png", "b/c.png"], path)


def _card(write: Callable[[Path], object], name: str) -> Callable[[], tuple[bytes, ...]]:
    return cache(lambda: (_written(write, name),))


def _save_model(folder: Path) -> None:
    card = model.ModelCard("dcgan", {"lr": 1.0}, SPEC, (), 10, 2, 0, True, {"manifest": "0" * 64}, {})
    model.save_model(folder, card, {"generator": {"w": torch.zeros(2)}})


def _model(data: bytes, folder: Path) -> None:
    _save_model(folder)
    (folder / "model.json").write_bytes(data)
    model.load_states(folder, model.load_card(folder))


def _save_shards(folder: Path, index: bytes | None = None, tar: bytes | None = None) -> None:
    rng = np.random.default_rng(0)
    examples = [Example(f"{n:08d}", rng.integers(0, 256, (3, 4, 5), dtype=np.uint8), n % 2) for n in range(3)]
    shard, rows = shards.write_shard(folder / "train-000000.tar", examples, 6)
    name, sha256 = shards.write_index(folder, "train", np.insert(rows, 0, 0, axis=1))
    if tar is not None:
        (folder / shard.name).write_bytes(tar)
        shard = shards.Shard(shard.name, len(tar), files.sha256_bytes(tar), 3)
    if index is not None:
        sha256 = files.write_bytes(folder / name, index)
    split = shards.Split("train", 3, (shard,), name, sha256, {"a": 2, "b": 1})
    shards.Manifest(SPEC, {"train": split}, {"name": "x"}, {"resize": "none"}, {"examples": 0}, {}).save(folder)


def _all(folder: Path) -> None:
    shards.verify(folder)
    found = Shards(folder, "train")
    found.examples(np.arange(len(found)))


def _manifest(data: bytes, folder: Path) -> None:
    _save_shards(folder)
    (folder / "manifest.json").write_bytes(data)
    _all(folder)


def _shard(data: bytes, folder: Path) -> None:
    _save_shards(folder, tar=data)
    _all(folder)


def _index(data: bytes, folder: Path) -> None:
    _save_shards(folder, index=data)
    _all(folder)


def _members(data: bytes, _: Path) -> None:
    if data[:4] == b"\x89PNG":
        shards.decode(data, DataSpec("image", (3, 9, 7)).x, "here")
    else:
        shards.decode(data, DataSpec("rows", (3, 4), dtype="float32").x, "here")


def _scores(data: bytes, folder: Path) -> None:
    (folder / "scores.json").write_bytes(data)
    report.load_scores(folder)


def _save_seen(folder: Path) -> None:
    from pipeline.contract.moments import Moments

    seen = statistics.Seen(Moments.empty(3), np.ones((2, 3), np.float32), np.arange(2), np.zeros(2, np.int64))
    statistics.save_seen(folder / "seen", seen)


def _seen(data: bytes, folder: Path) -> None:
    _save_seen(folder)
    (folder / "seen" / "statistics.json").write_bytes(data)
    statistics.load_seen(folder / "seen")


def _save_reference(folder: Path) -> None:
    card = reference.ReferenceCard(
        "0" * 64, SPEC, "random_projection", {}, "", 3, "none", 0, 1, {"train": 2, "holdout": 2}, {}
    )
    measured = reference.Measured(np.ones((2, 3), np.float32), np.zeros(2, np.int64))
    reference.save_reference(folder / "reference", card, {}, {"train": measured, "holdout": measured})


def _reference(data: bytes, folder: Path) -> None:
    if not (folder / "reference").exists():
        _save_reference(folder)
    (folder / "reference" / "reference.json").write_bytes(data)
    found = reference.Reference.load(folder / "reference")
    found.moments("train")
    found.labels("train")


def _json(data: bytes, folder: Path) -> None:
    path = folder / "x.json"
    path.write_bytes(data)
    files.canonical_json(files.read_json(path, "something"))


def _journal(data: bytes, folder: Path) -> None:
    from pipeline.registry.journals import parsed

    parsed(data.decode("utf-8", "replace"))
    path = folder / "journal"
    path.write_bytes(data)
    search.Journal(path)


def _records() -> tuple[bytes, ...]:
    entry = {"trial": "a", "reading": 1, "config": {"x": [1, 2]}, "score": 2.5}
    return (json.dumps(entry).encode() + b"\n" + json.dumps({**entry, "reading": 2}).encode() + b"\n",)


def _plain_scores() -> tuple[bytes, ...]:
    return (b'{"format_version": 1, "scores": [{"metric": "fid", "value": 1.5, "n": 10}]}',)


def _yaml_text(data: bytes, _: Path) -> None:
    yaml_text.dump(yaml_text.load(data.decode("utf-8", "replace"), "x"))


B, J, Y = change.bytes_changed, change.json_changed, change.yaml_changed


def _params_seeds() -> tuple[bytes, ...]:
    return ((ROOT / "params.yaml").read_bytes(),)


def _csvs() -> tuple[bytes, ...]:
    return (
        b"file,label\na.png,cat\nb/c.png,dog\n",
        '\ufefffile,label\r\n"a.png","c, ""d"""\r\n'.encode(),
        b"label,file,x\n1,a.png,\n",
    )


def _captions_csv() -> tuple[bytes, ...]:
    return (
        b'file,caption\na.png,a red bird\na.png,it is red\nb.png,"a frog, green"\n',
        "\ufefffile_name,text\r\na.png,Vögel\r\n".encode(),
    )


def _captions_jsonl() -> tuple[bytes, ...]:
    return (
        b'{"file": "a.png", "caption": "a red bird"}\n{"file": "b.png", "caption": ["a frog", "it is green"]}\n',
        '\ufeff{"file_name": "a.png", "text": "ein Vogel: \U0001f426"}\n\n'.encode(),
    )


def _captioned(name: str, data: bytes, folder: Path) -> None:
    (folder / name).write_bytes(data)
    found = _captions.read(image_folder.Config(folder="x", captions=str(folder / name)))
    for said in found.values():
        stored = (b"", tuple(sentence for sentence, _ in said), None)
        with suppress(Rejected):
            _captions.encoded(stored, image_folder.Config(folder="x"))


def _caption_vectors(data: bytes, folder: Path) -> None:
    (folder / "x.npy").write_bytes(data)
    _captions.vectors(image_folder.Config(folder="x", captions="x.csv", caption_vectors=str(folder / "x.npy")))


def _tables_of_floats() -> tuple[bytes, ...]:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    return (file.getvalue(),)


def _rows_of_csv(data: bytes, folder: Path) -> None:
    path = folder / "x.csv"
    path.write_bytes(data)
    source = csv.Source(csv.Config(path=str(path)))
    source.check()
    for entry in source.entries()[:20]:
        if entry.problem is None:
            source.read(entry, Limits())


def _parquet_tables() -> tuple[bytes, ...]:
    import pyarrow as pa

    held = {"a": [0.5, None, 2.5], "b": ["x", "y", None], "c": pa.array([1, 2, 3], pa.int8()), "d": [[1], [2], [3]]}
    files: list[bytes] = []
    for names in (("a", "b", "c"), ("a", "b", "c", "d")):
        file = io.BytesIO()
        parquet_form.write_table(pa.table({name: held[name] for name in names}), file)
        files.append(file.getvalue())
    return tuple(files)


def _rows_of_parquet(data: bytes, folder: Path) -> None:
    path = folder / "x.parquet"
    path.write_bytes(data)
    source = parquet_table.Source(parquet_table.Config(path=str(path), missing="mask"))
    source.check()
    for entry in source.entries()[:20]:
        if entry.problem is None:
            source.read(entry, Limits())


def _npy_or_png() -> tuple[bytes, ...]:
    return (*pictures()[:7], *npys())


def _of(*files_of: Callable[[], tuple[bytes, ...]]) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(each for one in files_of for each in one())


def _images(data: bytes, _: Path) -> None:
    images.decode(data, Limits(max_pixels=2**16))


def _maps(data: bytes, _: Path) -> None:
    label_maps.check(images.decode_map(data, Limits(max_pixels=2**16)), 19, 255)


READERS: dict[str, Reader] = {
    "image": Reader(pictures, (B, B, change.png, change.spliced(pictures())), _images),
    "flac, ogg": Reader(compressed, (B, change.spliced(compressed())), _sound),
    "label map": Reader(pictures, (B, B, change.png, change.spliced(pictures())), _maps),
    "wav": Reader(sounds, (B, change.spliced(sounds())), _sound),
    "voxels": Reader(grids, (B, change.npy, change.archive(change.npy), change.spliced(grids())), _grid),
    "clip": Reader(moving, (B, B, change.png, change.spliced(moving())), _clip),
    "idx": Reader(idx_seeds, (B, change.zipped), _idx),
    "tar": Reader(tars, (B, change.tar, change.tar, change.spliced(tars())), _tar),
    "archive": Reader(picture_archives, (B, change.tar, change.archive(B), change.archive(J)), _archive),
    "parquet": Reader(parquet_files, (B, B, change.spliced(parquet_files())), _parquet),
    "webdataset": Reader(sample_shards, (B, change.tar, change.tar), _samples),
    "npy": Reader(npys, (B, change.npy), _rows),
    "npz": Reader(npzs, (B, change.archive(change.npy), change.archive(B)), _npz),
    "safetensors": Reader(safe, (B, change.tensors), _safe),
    "weights": Reader(safe, (B, change.tensors), _weights),
    "pth": Reader(pickles, (B, change.archive(B)), _pickle),
    "yaml": Reader(_params_seeds, (B, Y, Y), _yaml_text),
    "params": Reader(_params_seeds, (Y,), _params),
    "best": Reader(bests, (B, Y, Y), _best),
    "csv": Reader(_csvs, (B,), _table),
    "rows": Reader(_csvs, (B,), _rows_of_csv),
    "captions": Reader(_captions_csv, (B,), partial(_captioned, "x.csv")),
    "captions_jsonl": Reader(_captions_jsonl, (B,), partial(_captioned, "x.jsonl")),
    "caption_vectors": Reader(_tables_of_floats, (B,), _caption_vectors),
    "rows of parquet": Reader(_parquet_tables, (B, B, change.spliced(_parquet_tables())), _rows_of_parquet),
    "json": Reader(_of(_records, _plain_scores), (B, J), _json),
    "journal": Reader(_records, (B, change.lines_changed), _journal),
    "scores": Reader(_plain_scores, (J,), _scores),
    "card": Reader(_card(_save_model, "model.json"), (B, J, J), _model),
    "manifest": Reader(_card(_save_shards, "manifest.json"), (B, J, J), _manifest),
    "shard": Reader(_card(_save_shards, "train-000000.tar"), (B,), _shard),
    "index": Reader(_card(_save_shards, "index-train.npy"), (B, change.npy), _index),
    "member": Reader(_npy_or_png, (B, change.png, change.npy), _members),
    "statistics": Reader(_card(_save_seen, "seen/statistics.json"), (B, J, J), _seen),
    "reference": Reader(_card(_save_reference, "reference/reference.json"), (B, J, J), _reference),
}


def member_of(archive: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        return found.read(name)
