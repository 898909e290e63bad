"""A small good project, and one way each to spoil its data or its artefacts."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline import params, plugins
from pipeline.data import packing
from pipeline.data.batches import Reader
from pipeline.formats.model import ModelCard, save_model
from pipeline.formats.report import ExtractorIdentity, ScoreRecord, save_scores
from pipeline.formats.search import Best, save_best
from pipeline.formats.shards import Manifest
from pipeline.scoring.reference import measure
from pipeline.settings import override

# Every path is relative to the project, which is the working directory.
GOOD: dict[str, Any] = {
    "ingest": {
        "source": {"name": "image_folder", "folder": "data"},
        "resolution": 8,
        "resize": "stretch",
        "holdout_fraction": 0.25,
    },
    "reference": {"extractor": {"name": "random_projection", "dimension": 4}},
    "families": {
        "dcgan": {"preset": "digits"},
        "gan": {"preset": "small"},
        "r3gan": {"preset": "small"},
        "wgan_gp": {"preset": "small"},
    },
    "tune": {
        "trials": 2,
        "examples": 128,
        "first_rung": 64,
        "space": {"families.dcgan.generator.lr": {"loguniform": [1e-4, 1e-2]}},
    },
    "train": {
        "family": "dcgan",
        "examples": 256,
        "batch_size": 16,
        "lanes": 2,
        "tick": 64,
        "checkpoint": 128,
        "grid": 128,
        "score": {"every": 128, "samples": 16},
    },
    "evaluate": {"samples": 16, "repeats": 1, "metrics": [{"name": "frechet"}]},
    "register": {"name": "small", "metric": "frechet_random_projection"},
    "run": {"num_workers": 2, "device": "cpu", "cache_megabytes": 1},
}


def pixels(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def image(seed: int = 0, kind: str = "PNG", height: int = 8, width: int = 8, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed, height, width)).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def data(root: Path, count: int = 6) -> None:
    """Two classes of `count` PNGs of 8×8 RGB in root/data."""
    for number, label in enumerate(("cats", "dogs")):
        folder = root / "data" / label
        folder.mkdir(parents=True)
        for item in range(count):
            (folder / f"{item}.png").write_bytes(image(100 * number + item))


def project(root: Path) -> None:
    """`data`, and what the five first stages would have left, as small as can be."""
    data(root, count=40)
    settings = params.check(override(GOOD, {"ingest.source.folder": str(root / "data")}))
    artifacts = root / "artifacts"
    packing.ingest(settings.ingest, artifacts / "shards")
    train, holdout = Reader(artifacts / "shards", "train"), Reader(artifacts / "shards", "holdout")
    manifest = Manifest.load(artifacts / "shards")
    measure(settings.reference, train, holdout, artifacts / "reference", manifest.sha256)
    save_best(artifacts / "search", Best({"families.dcgan.generator.lr": 1e-3}, 1.0, 0))
    config = {"latent": 8, "generator_widths": [16], "discriminator_units": [8]}
    family = plugins.load("families", {"name": "gan", **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = family.build(manifest.spec)
    card = ModelCard("gan", config, manifest.spec, (), 256, 16, 0, True, {"manifest_sha256": manifest.sha256}, {})
    save_model(artifacts / "model", card, {"generator": networks["generator"].state_dict()})
    identity = ExtractorIdentity("random_projection", "ab" * 32, 4)
    score = ScoreRecord("frechet_random_projection", 3.0, None, 60, 16, "train", identity, "none", 0, 1, True, 1.0, "1")
    save_scores(artifacts / "report", [score])


# --- files that spoil a folder of images ----------------------------------------------------------


def bomb() -> bytes:
    """A few bytes of PNG whose header says 30,000×30,000."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def deep() -> bytes:
    """A PNG of 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(buffer, "PNG")
    return buffer.getvalue()


def animated() -> bytes:
    buffer = io.BytesIO()
    first, second = (Image.fromarray(pixels(seed)) for seed in (1, 2))
    first.save(buffer, "PNG", save_all=True, append_images=[second])
    return buffer.getvalue()


def transparent() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(1, channels=4)).save(buffer, "PNG")
    return buffer.getvalue()


def extra(content: bytes, name: str = "cats/odd.png") -> Callable[[Path], None]:
    """One more file in the good folder."""

    def spoil(root: Path) -> None:
        (root / "data" / name).parent.mkdir(exist_ok=True, parents=True)
        (root / "data" / name).write_bytes(content)

    return spoil


def link(target: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / "secret.png").write_bytes(image())
        (root / "data/cats/odd.png").symlink_to(target)

    return spoil


def linked_classes(target: str) -> Callable[[Path], None]:
    """Two class folders, both of them links to `target`."""

    def spoil(root: Path) -> None:
        remove(root / "data")
        (root / "data").mkdir()
        for name in "ab":
            (root / "data" / name).symlink_to(target)

    return spoil


def only(**files: bytes) -> Callable[[Path], None]:
    """These files, and nothing else, in root/data; `__` in a name stands for `/`, `_` before the ending for `.`."""

    def spoil(root: Path) -> None:
        remove(root / "data")
        for name, content in files.items():
            path = root / "data" / re.sub("_(?=[a-z]{3}$)", ".", name.replace("__", "/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return spoil


def wavs(peak: float = 0.5, bits: int = 16, channels: int = 1, head: bytes = b"RIFF") -> Callable[[Path], None]:
    """Six tones, and nothing else, in root/data; of 32 bits floats; the second channel is the first, turned round."""

    def spoil(root: Path) -> None:
        remove(root / "data")
        (root / "data").mkdir()
        for number in range(6):
            tone = peak * np.sin(np.arange(64) * (number + 1) / 9)
            values = np.stack([tone, -tone][:channels], axis=1)
            sound = values.astype("<f4").tobytes() if bits == 32 else np.rint(values * 32_767).astype("<i2").tobytes()
            width = channels * bits // 8
            form = struct.pack("<HHIIHH", 3 if bits == 32 else 1, channels, 8_000, 8_000 * width, width, bits)
            body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(sound)) + sound
            (root / "data" / f"{number}.wav").write_bytes(head + struct.pack("<I", len(body)) + body)

    return spoil


def csv(text: bytes) -> Callable[[Path], None]:
    """A table of labels beside the good folder."""

    def spoil(root: Path) -> None:
        (root / "labels.csv").write_bytes(text)

    return spoil


def remove(path: Path) -> None:
    for child in sorted(path.rglob("*"), reverse=True):
        child.rmdir() if child.is_dir() and not child.is_symlink() else child.unlink()
    path.rmdir()


# --- idx files and archives -----------------------------------------------------------------------


def idx(
    images: int = 12, labels: int = 12, *, magic: bytes = b"\0\0", cut: int = 0, top: int = 2, zipped: int | None = None
) -> Callable[[Path], None]:
    """images.idx and labels.idx; `cut` bytes short, or gzipped and cut after `zipped` bytes."""

    def spoil(root: Path) -> None:
        body = pixels(0, images, 64, 1).tobytes()
        content = magic + bytes([8, 3]) + struct.pack(">III", images, 8, 8) + body
        content = content[: len(content) - cut]
        (root / "images.idx").write_bytes(content if zipped is None else gzip.compress(content)[:zipped])
        numbers = bytes(number % top for number in range(labels))
        (root / "labels.idx").write_bytes(b"\0\0" + bytes([8, 1]) + struct.pack(">I", labels) + numbers)

    return spoil


def archive(
    names: tuple[str, ...] = ("data_batch_1.bin",), size: int = 30 * 3073, kind: str = "w:gz", cut: int = 0
) -> Callable[[Path], None]:
    """cifar.tar.gz with members of `size` zero bytes, `cut` bytes short."""

    def spoil(root: Path) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=kind) as tar:
            for number, name in enumerate(names):
                records = pixels(number, 1, size, 1).copy().ravel()
                records[::3073] = np.arange(len(records[::3073])) % 10
                member = tarfile.TarInfo(name)
                member.size = size
                tar.addfile(member, io.BytesIO(records.tobytes()))
        content = buffer.getvalue()
        (root / "cifar.tar.gz").write_bytes(content[: len(content) - cut])

    return spoil


# --- artefacts ------------------------------------------------------------------------------------


def torn(name: str) -> Callable[[Path], None]:
    """The first half of a file."""

    def spoil(artifacts: Path) -> None:
        content = (artifacts / name).read_bytes()
        (artifacts / name).write_bytes(content[: len(content) // 2])

    return spoil


def altered(name: str) -> Callable[[Path], None]:
    """One bit in the middle, turned round."""

    def spoil(artifacts: Path) -> None:
        content = bytearray((artifacts / name).read_bytes())
        content[len(content) // 2] ^= 1
        (artifacts / name).write_bytes(bytes(content))

    return spoil


def gone(name: str) -> Callable[[Path], None]:
    return lambda artifacts: (artifacts / name).unlink()


def written(name: str, text: str) -> Callable[[Path], None]:
    def spoil(artifacts: Path) -> None:
        (artifacts / name).write_text(text)

    return spoil


def changed(name: str, **values: Any) -> Callable[[Path], None]:
    """Some keys of a JSON file; None takes one away."""

    def spoil(artifacts: Path) -> None:
        content = json.loads((artifacts / name).read_text()) | values
        (artifacts / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return spoil
