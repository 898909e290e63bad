from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bombs
import numpy as np
import pyarrow
import pytest
from numpy.typing import NDArray

from pipeline.data import packing, unpacked
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources import _members
from pipeline.data.sources.archive import Config, Source
from pipeline.errors import Rejected, SettingsError, UserError

Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unpacked"


@pytest.fixture
def files(noise: Noise, png: Png) -> dict[str, bytes]:
    return {
        f"{label}/{number}.png": png(noise(10 * place + number))
        for place, label in enumerate("ab")
        for number in (2, 10)
    }


def zipped(path: Path, members: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", way) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    path.write_bytes(tar_bytes(members, form))
    return path


def tar_bytes(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def opened(path: Path, **settings: Any) -> Source:
    source = Source(Config(path=str(path), **settings))
    source.check()
    return source


def reasons(source: Source) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in source.entries():
        try:
            if entry.problem:
                raise Rejected(*entry.problem)
            source.read(entry, Limits())
        except Rejected as problem:
            found[entry.key] = problem.reason
    return found


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pyarrow.compress(data, "zstd", asbytes=True),
}


@pytest.mark.parametrize("kind", ["stored", "deflated", "tar", "ustar", "gnu", *COMPRESSED])
def test_every_form_holds_the_same(kind: str, files: dict[str, bytes], tmp_path: Path, noise: Noise) -> None:
    path = tmp_path / "x"
    if kind in COMPRESSED:
        path.write_bytes(COMPRESSED[kind](tar_bytes(files)))
    elif kind in ("stored", "deflated"):
        zipped(path, files, zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED)
    else:
        tarred(path, files, {"tar": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT}[kind])
    source = opened(path)
    assert source.classes() == ("a", "b")
    found = {entry.key: (entry.label, source.read(entry, Limits())) for entry in source.entries()}
    assert list(found) == ["a/10.png", "a/2.png", "b/10.png", "b/2.png"]
    assert found["b/2.png"][0] == "b"
    assert np.array_equal(found["b/2.png"][1], noise(12))


def test_a_compressed_tar_is_unpacked_once(files: dict[str, bytes], tmp_path: Path, cache: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar_bytes(files)))
    first = opened(tmp_path / "x.tar.gz")
    (kept,) = [path for path in cache.iterdir() if path.suffix != ".lock"]
    before = kept.stat().st_mtime_ns
    second = opened(tmp_path / "x.tar.gz")
    assert [second.fetch(entry, Limits()) for entry in second.entries()] == [files[e.key] for e in first.entries()]
    assert kept.stat().st_mtime_ns == before
    assert kept.stat().st_mode & 0o077 == 0 or cache.stat().st_mode & 0o077 == 0


def test_the_least_lately_used_go(
    files: dict[str, bytes], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.tar.gz").write_bytes(gzip.compress(tar_bytes({**files, "note.txt": bytes([number])})))
    size = len(tar_bytes({**files, "note.txt": b"x"}))
    monkeypatch.setattr("pipeline.limits.UNPACKED_KEPT_BYTES", 2 * size)
    places = [_members._plain(tmp_path / f"{number}.tar.gz", _members.Caps()) for number in range(3)]
    assert [place.is_file() for place in places] == [False, True, True]
    again = opened(tmp_path / "0.tar.gz")
    assert reasons(again) == {}
    assert unpacked.allowed(tmp_path / "0.tar.gz", None) == 2**30


def test_shards_are_those_of_the_folder(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    sources = {
        "one": {"name": "image_folder", "folder": str(tmp_path / "folder")},
        "two": {"name": "archive", "path": str(zipped(tmp_path / "x.zip", files))},
    }
    for name, source in sources.items():
        packing.ingest(IngestSettings(source=source, holdout_fraction=0.5), tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.tar")} for name in sources)
    assert one == two
    assert len(one) == 2


def test_the_folder_that_holds_all_is_no_class(files: dict[str, bytes], tmp_path: Path) -> None:
    members = {f"flowers/{name}": data for name, data in files.items()} | {"README.md": b"x", "flowers/.DS_Store": b"y"}
    source = opened(zipped(tmp_path / "x.zip", members))
    assert source.classes() == ("a", "b")
    assert source.passed_over() == ((".DS_Store", "left by the operating system or a tool"), ("README.md", "no image"))
    flat = opened(zipped(tmp_path / "flat.zip", {f"img/{n}.png": d for n, d in enumerate(files.values())}))
    assert flat.classes() == ()


def test_what_is_passed_over_and_what_is_rejected(files: dict[str, bytes], tmp_path: Path) -> None:
    members = {
        **files,
        "__MACOSX/a/._2.png": b"x",
        "a/.hidden.png": b"x",
        "a/notes.txt": b"x",
        "a/empty.jpg": b"",
        "stray.png": files["a/2.png"],
        "a/without_ending": files["a/2.png"],
        "../up.png": b"x",
        "/etc/abs.png": b"x",
        f"a/{'n' * 5000}.png": b"x",
    }
    source = opened(tarred(tmp_path / "x.tar", members))
    assert dict(source.passed_over()) == {
        "__MACOSX/": "left by the operating system or a tool",
        "a/.hidden.png": "hidden",
        "a/notes.txt": "no image",
    }
    found = reasons(source)
    assert sorted(found.values()) == [
        "name too long",
        "not an image",
        "outside every class folder",
        "path leaving the archive",
        "path leaving the archive",
    ]
    assert "a/without_ending" not in found
    assert "a/without_ending" in {entry.key for entry in source.entries()}


def test_links_and_devices_of_a_tar_and_second_members(files: dict[str, bytes], tmp_path: Path) -> None:
    file = io.BytesIO(tar_bytes(files))
    with tarfile.open(fileobj=file, mode="a") as archive:
        for name, kind in (
            ("a/link.png", tarfile.SYMTYPE),
            ("a/hard.png", tarfile.LNKTYPE),
            ("b/pipe.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("a/2.png")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    (tmp_path / "x.tar").write_bytes(file.getvalue())
    source = opened(tmp_path / "x.tar")
    assert sorted(reasons(source).values()) == [
        "a second member of this name",
        "link in an archive",
        "link in an archive",
        "not a regular file",
    ]
    assert len({entry.key for entry in source.entries()}) == 8
    (first,) = [entry for entry in source.entries() if entry.key == "a/2.png"]
    assert source.fetch(first, Limits()) == files["a/2.png"]


def test_members_of_a_zip_that_cannot_be_used(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(zipfile.ZipInfo("a/lzma.png"), files["a/2.png"], zipfile.ZIP_LZMA)
        link = zipfile.ZipInfo("a/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("b/crc.png", files["b/2.png"])
        archive.writestr("b/secret.png", files["b/2.png"])
        wrong, secret = archive.infolist()[-2:]
        wrong.CRC ^= 1
        secret.flag_bits |= 1
    assert reasons(opened(path)) == {
        "a/lzma.png": "packed in another way",
        "a/link.png": "link in an archive",
        "b/crc.png": "damaged member",
        "b/secret.png": "encrypted",
    }


def test_an_item_above_the_limit_is_not_unpacked(files: dict[str, bytes], tmp_path: Path) -> None:
    source = opened(zipped(tmp_path / "x.zip", {**files, "a/big.png": bytes(2**20)}))
    (big,) = [entry for entry in source.entries() if entry.key == "a/big.png"]
    with pytest.raises(Rejected) as raised:
        source.fetch(big, Limits(max_bytes=2**19))
    assert raised.value.reason == "too many bytes"


def test_a_member_that_unpacks_to_more_than_it_says(files: dict[str, bytes], tmp_path: Path) -> None:
    data = bombs.zeros(100, -15)
    path = bombs.packed_as(tmp_path / "x.zip", "a.png", data, 0, 1000, zipfile.ZIP_DEFLATED)
    assert reasons(opened(path)) == {"a.png": "damaged member"}


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="share bytes"):
        _members.listed(bombs.overlapping(tmp_path / "x.zip", 10), _members.Caps())


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_more_members_than_are_read(kind: str, files: dict[str, bytes], tmp_path: Path) -> None:
    path = (zipped if kind == "zip" else tarred)(tmp_path / "x", files)
    assert opened(path, max_members=4).classes() == ("a", "b")
    with pytest.raises(UserError, match="more than 3 members"):
        opened(path, max_members=3)


def test_a_compressed_tar_that_unpacks_to_more_than_is_allowed(
    files: dict[str, bytes], tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes({**files, "a/big.png": bytes(2**20)})))
    with pytest.raises(UserError, match="max_unpacked_bytes"):
        opened(path, max_unpacked_bytes=2**20)
    assert [each.suffix for each in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "data", [b"7z\xbc\xaf\x27\x1c" + bytes(600), b"Rar!\x1a\x07\0" + bytes(600), b"hello" * 200, b""]
)
def test_what_is_no_archive(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError):
        opened(tmp_path / "x")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_that_are_cut_short(pack: Callable[..., Path], files: dict[str, bytes], tmp_path: Path) -> None:
    path = pack(tmp_path / "x", files)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(UserError, match="no whole archive"):
        opened(path)


# --- labels -------------------------------------------------------------------------------------------


def stylegan(labels: Any, files: dict[str, bytes]) -> dict[str, bytes]:
    members = {f"00000/img{number:08d}.png": data for number, data in enumerate(files.values())}
    return {**members, "dataset.json": json.dumps({"labels": labels}).encode()}


def test_datasets_of_stylegan(files: dict[str, bytes], tmp_path: Path) -> None:
    labels = [[f"00000/img{number:08d}.png", label] for number, label in enumerate((3, 10, 3))]
    source = opened(zipped(tmp_path / "x.zip", stylegan(labels, files)))
    assert source.classes() == ("3", "10")
    assert [entry.label for entry in source.entries()] == ["3", "10", "3", None]
    assert reasons(source) == {"00000/img00000003.png": "no label in dataset.json"}
    assert source.passed_over() == (("dataset.json", "the labels"),)
    none = opened(zipped(tmp_path / "none.zip", stylegan(None, files)))
    assert none.classes() == ()
    assert reasons(none) == {}
    ignored = opened(zipped(tmp_path / "folders.zip", stylegan(labels, files)), labels="folders")
    assert ignored.classes() == ("00000",)


@pytest.mark.parametrize(
    "labels", [{"a": 1}, [["x", [0.5]]], [["x", -1]], [["x", True]], ["x"], [["x", 1], ["x", 2]], 3]
)
def test_datasets_that_are_none(labels: Any, files: dict[str, bytes], tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", stylegan(labels, files))
    with pytest.raises(SettingsError, match="labels"):
        opened(path)
    assert opened(path, labels="none").classes() == ()


def test_a_csv_in_the_archive_or_beside_it(files: dict[str, bytes], tmp_path: Path) -> None:
    table = b"file,label\na/2.png,cat\n./a/10.png,dog\nb\\2.png,dog\nlost.png,cat\n"
    inside = opened(zipped(tmp_path / "x.zip", {**files, "labels.csv": table}), labels="labels.csv")
    (tmp_path / "other.csv").write_bytes(table)
    beside = opened(zipped(tmp_path / "y.zip", files), labels=str(tmp_path / "other.csv"))
    for source in (inside, beside):
        assert source.classes() == ("cat", "dog")
        assert {entry.key: entry.label for entry in source.entries() if not entry.problem} == {
            "a/2.png": "cat",
            "a/10.png": "dog",
            "b/2.png": "dog",
        }
        assert reasons(source) == {"b/10.png": "no label in the csv", "lost.png": "missing file"}
    assert inside.named() == {"path": str(tmp_path / "x.zip")}
    assert beside.named() == {"path": str(tmp_path / "y.zip"), "labels": str(tmp_path / "other.csv")}
    with pytest.raises(SettingsError, match=r"ingest\.source\.labels: 'nowhere.csv' is neither"):
        opened(tmp_path / "x.zip", labels="nowhere.csv")


def test_splits_are_refused_and_a_folder_names_one(files: dict[str, bytes], tmp_path: Path) -> None:
    members = {f"data/{split}/{name}": data for split in ("train", "val") for name, data in files.items()}
    path = zipped(tmp_path / "x.zip", members)
    with pytest.raises(SettingsError, match="folder: data/train "):
        opened(path)
    assert opened(path, folder="data/train").classes() == ("a", "b")
    with pytest.raises(SettingsError, match=r"ingest\.source\.folder: .* holds no folder 'train'"):
        opened(path, folder="train")
