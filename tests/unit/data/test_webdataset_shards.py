from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray

from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources import _samples
from pipeline.data.sources.webdataset import Config, Source
from pipeline.errors import Rejected, SettingsError, UserError
from pipeline.settings import validate

Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unpacked"


@pytest.fixture
def pictures(noise: Noise, png: Png) -> list[bytes]:
    return [png(noise(number)) for number in range(6)]


def shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def by_webdataset(path: Path, samples: list[dict[str, Any]]) -> Path:
    """As its own writer makes them."""
    with path.open("wb") as file, webdataset.TarWriter(file) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def opened(urls: Any, **settings: Any) -> Source:
    source = Source(Config(urls=urls if isinstance(urls, list | tuple) else str(urls), **settings))
    source.check()
    return source


def read(source: Source) -> dict[str, tuple[str | None, bytes | str]]:
    found: dict[str, tuple[str | None, bytes | str]] = {}
    for entry in source.entries():
        try:
            if entry.problem:
                raise Rejected(*entry.problem)
            found[entry.key] = (entry.label, source.fetch(entry, Limits()))
        except Rejected as error:
            found[entry.key] = (None, error.reason)
    return found


def test_shards_as_webdataset_writes_them(pictures: list[bytes], tmp_path: Path) -> None:
    for number in range(2):
        samples = [{"__key__": f"a/{n}", "jpg": each, "cls": n + 9, "txt": "x"} for n, each in enumerate(pictures[:2])]
        by_webdataset(tmp_path / f"{number:02d}.tar", samples)
    source = opened(tmp_path / "{00..01}.tar")
    assert source.classes() == ("9", "10")
    assert read(source) == {
        "00/a/0": ("9", pictures[0]),
        "00/a/1": ("10", pictures[1]),
        "01/a/0": ("9", pictures[0]),
        "01/a/1": ("10", pictures[1]),
    }
    assert source.passed_over()[0] == ("00/a/0.txt", "no image")
    assert len(source.passed_over()) == 4
    assert source.named() == {"urls": str(tmp_path)}
    assert source.describe()["urls"] == "{00..01}.tar"
    assert opened(tmp_path / "01.tar").named() == {"urls": str(tmp_path / "01.tar")}


def test_labels_of_every_kind(pictures: list[bytes], tmp_path: Path) -> None:
    record = json.dumps({"kind": "dog", "number": 3, "deep": {}}).encode()
    members = {"0.png": pictures[0], "0.json": record, "0.txt": b" a cat\n", "0.cls": b"1", "1.png": pictures[1]}
    path = shard(tmp_path / "x.tar", members)
    for settings, label in (
        ({}, "1"),
        ({"classes": ("cat", "dog")}, "dog"),
        ({"labels": "txt"}, "a cat"),
        ({"labels": "json.kind"}, "dog"),
        ({"labels": "json.number"}, "3"),
    ):
        source = opened(path, **settings)
        assert [entry.label for entry in source.entries()] == [label, None]
        assert read(source)["x/1"] == (None, "no label in the sample")
    assert opened(path, labels="none").classes() == ()
    for wrong in ("json.deep", "json.nothing"):
        with pytest.raises(SettingsError, match=r"ingest\.source\.labels"):
            opened(path, labels=wrong)


@pytest.mark.parametrize("value", [b"2", b"-1", b"\xff", b"x" * 70_000, b"9" * 5000])
def test_labels_that_are_none(value: bytes, pictures: list[bytes], tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {"0.png": pictures[0], "0.cls": value, "1.png": pictures[1], "1.cls": b"0"})
    assert read(opened(path, classes=("a", "b")))["x/0"] == (None, "unknown label")


def test_which_image(pictures: list[bytes], tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {"0.left.png": pictures[0], "0.right.PNG": pictures[1], "0.cls": b"0"})
    with pytest.raises(SettingsError, match=r"ingest\.source\.image: .*left\.png, right\.png"):
        opened(path)
    assert read(opened(path, image="right.png"))["x/0"] == ("0", pictures[1])
    assert read(opened(path, image="jpg;left.png"))["x/0"] == ("0", pictures[0])
    with pytest.raises(SettingsError, match=r"ingest\.source\.image: no sample"):
        opened(path, image="webp")


def test_pickles_and_other_members_are_never_decoded(pictures: list[bytes], tmp_path: Path) -> None:
    members = {
        "0.png": pictures[0],
        "0.pyd": b"cos\nsystem\n(S'false'\ntR.",
        "0.pth": b"x",
        "__meta__": b"x",
        ".x": b"",
    }
    source = opened(shard(tmp_path / "x.tar", members))
    assert read(source) == {"x/0": (None, pictures[0])}
    assert dict(source.passed_over()) == {
        "x/.x": "in no sample",
        "x/0.pth": "no image",
        "x/0.pyd": "no image",
        "x/__meta__": "in no sample",
    }


@pytest.mark.parametrize("url", ["pipe:cat /etc/passwd", "pipe:touch {here}", "-", "file:/etc/passwd", "gs:x/y.tar"])
def test_no_address_runs_a_command(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        opened(url.replace("{here}", str(tmp_path / "made")))
    assert not (tmp_path / "made").exists()


def test_members_and_samples_that_cannot_be_used(pictures: list[bytes], tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        names = ("0.png", "1.txt", "0.cls", "../up.png", "/abs.png", "0.png", "2.png", "2.PNG")
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(pictures[0])
            tar.addfile(info, io.BytesIO(pictures[0]))
        info = tarfile.TarInfo("3.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    (tmp_path / "x.tar").write_bytes(file.getvalue())
    found = read(opened(tmp_path / "x.tar", labels="none"))
    assert found == {
        "x/0": (None, pictures[0]),
        "x/1": (None, "no image in the sample"),
        "x/0 (sample 2)": (None, "a second sample of this name"),
        "x/2": (None, pictures[0]),
        "x/../up.png (member 3)": (None, "path leaving the archive"),
        "x//abs.png (member 4)": (None, "path leaving the archive"),
        "x/0.png (member 5)": (None, "a second member of this name"),
        "x/3.png (member 8)": (None, "link in an archive"),
    }


def test_our_own_shards_are_packed_again(pictures: list[bytes], tmp_path: Path, folder_of: Callable[..., Path]) -> None:
    source = {"name": "image_folder", "folder": str(folder_of(cats=4, dogs=4))}
    first = packing.ingest(IngestSettings(source=source, holdout_fraction=0.25), tmp_path / "first")
    urls = [str(tmp_path / "first" / shard.name) for split in first.splits.values() for shard in split.shards]
    again = packing.ingest(
        IngestSettings(source={"name": "webdataset", "urls": urls}, holdout_fraction=0.25), tmp_path / "again"
    )
    assert again.spec.classes == ("cats", "dogs")
    assert again.splits["train"].histogram == first.splits["train"].histogram


def test_compressed_shards_and_shards_of_one_name(pictures: list[bytes], tmp_path: Path) -> None:
    for folder in "ab":
        path = shard(tmp_path / folder / "0.tar", {"0.png": pictures[0]})
        path.with_suffix(".tgz").write_bytes(gzip.compress(path.read_bytes()))
    source = opened(tmp_path / "{a,b}" / "0.tgz")
    assert list(read(source)) == ["000000-0/0", "000001-0/0"]
    assert read(source)["000001-0/0"] == (None, pictures[0])


def test_a_folder_and_missing_shards(pictures: list[bytes], tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", {"0.png": pictures[0]})
    with pytest.raises(SettingsError, match=r"0\.tar"):
        opened(tmp_path)
    with pytest.raises(SettingsError, match=r"1\.tar' does not exist"):
        opened(tmp_path / "{0..1}.tar")
    (tmp_path / "0.tar").write_bytes(b"x" * 1024)
    with pytest.raises(UserError, match="no archive"):
        opened(tmp_path / "0.tar")


@pytest.mark.parametrize(
    "url", ["{0..999999999}.tar", "{0..999}{0..999}.tar", "{a,b", "{0..%s}" % ("9" * 5000), "{" * 5000]
)
def test_braces_that_stand_for_too_much_or_nothing(url: str) -> None:
    with pytest.raises(SettingsError, match=r"ingest\.source\.urls"):
        _samples.expanded(url)


def test_settings_that_are_wrong() -> None:
    for settings, key in (
        ({"labels": "pyd"}, "labels"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"urls": "ftp://x/y"}, "urls"),
    ):
        with pytest.raises(SettingsError, match=f"source.{key}"):
            validate(Config, {"urls": "x.tar", **settings}, "source")
