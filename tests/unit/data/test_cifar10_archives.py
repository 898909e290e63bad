from __future__ import annotations

import io
import lzma
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.source import Limits
from pipeline.data.sources.cifar10 import CLASSES, Config, Source
from pipeline.errors import SettingsError, UserError


def planes(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, 32, 32), dtype=np.uint8)


def records(*labels: int) -> bytes:
    return b"".join(bytes([label]) + planes(label).tobytes() for label in labels)


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # pyright: ignore
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def opened(path: Path, **keys: Any) -> Source:
    source = Source(Config(path=str(path), **keys))
    source.check()
    return source


def usable(source: Source) -> list[tuple[str, str | None]]:
    return [(entry.key, entry.label) for entry in source.entries() if entry.problem is None]


def refused(source: Source) -> dict[str, str]:
    return {entry.key: entry.problem[0] for entry in source.entries() if entry.problem is not None}


BATCHES = (
    member("cifar-10-batches-bin/data_batch_2.bin", records(3)),
    member("cifar-10-batches-bin/data_batch_1.bin", records(6, 9)),
    member("cifar-10-batches-bin/test_batch.bin", records(1)),
    member("cifar-10-batches-bin/readme.html", b"<html>"),
)
TRAIN = [("data_batch_1/00000", "frog"), ("data_batch_1/00001", "truck"), ("data_batch_2/00000", "cat")]
TEST = [("test_batch/00000", "automobile")]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_an_archive_of_any_compression(tmp_path: Path, mode: str) -> None:
    source = opened(archive(tmp_path / "a", *BATCHES, mode=mode))
    assert usable(source) == TRAIN
    assert source.native_shape() == (3, 32, 32)
    image = source.read(source.entries()[1], Limits())
    assert np.array_equal(image.transpose(2, 0, 1), planes(9))


@pytest.mark.parametrize(("part", "expected"), [("train", TRAIN), ("test", TEST), ("all", TRAIN + TEST)])
def test_parts_of_archive_and_folder_agree(
    tmp_path: Path, part: str, expected: Sequence[tuple[str, str | None]]
) -> None:
    (tmp_path / "folder").mkdir()
    for info, data in BATCHES:
        (tmp_path / "folder" / Path(info.name).name).write_bytes(data)
    for source in (opened(tmp_path / "folder", part=part), opened(archive(tmp_path / "a", *BATCHES), part=part)):
        assert usable(source) == expected


def test_class_names_come_with_the_data(tmp_path: Path) -> None:
    names = b"one\ntwo\n\n"
    meta = member("batches.meta.txt", names)
    source = opened(archive(tmp_path / "a", member("data_batch_1.bin", records(1, 2)), meta))
    assert source.classes() == ("one", "two")
    assert refused(source) == {"data_batch_1/00001": "unknown label"}
    assert opened(archive(tmp_path / "b", *BATCHES)).classes() == CLASSES


def test_hostile_members_are_set_aside_and_touch_nothing(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    source = opened(
        archive(
            place / "a",
            member("../data_batch_1.bin", records(0)),
            member("/outside/data_batch_2.bin", records(0)),
            member("data_batch_3.bin", kind=tarfile.SYMTYPE, link="/etc/passwd"),
            member("data_batch_4.bin", kind=tarfile.LNKTYPE, link="../../etc/passwd"),
            member("data_batch_5.bin", kind=tarfile.FIFOTYPE),
            member("data_batch_6.bin", kind=tarfile.CHRTYPE),
            member("x/data_batch_7.bin", records(5)),
            member("y/data_batch_7.bin", records(6)),
            member("x", kind=tarfile.DIRTYPE),
            member("data_batch_8.bin", records(200, 4)),
            member("data_batch_9.bin", records(7) + b"rest"),
        )
    )
    assert usable(source) == [
        ("data_batch_7/00000", "dog"),
        ("data_batch_8/00001", "deer"),
        ("data_batch_9/00000", "horse"),
    ]
    assert refused(source) == {
        "../data_batch_1.bin": "path leaving the archive",
        "/outside/data_batch_2.bin": "path leaving the archive",
        "data_batch_3.bin": "link in an archive",
        "data_batch_4.bin": "link in an archive",
        "data_batch_5.bin": "not a regular file",
        "data_batch_6.bin": "not a regular file",
        "y/data_batch_7.bin": "a second member of this name",
        "data_batch_8/00000": "unknown label",
        "data_batch_9/00001": "truncated record",
    }
    assert [path.name for path in place.iterdir()] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_links_out_of_a_folder_are_refused_unless_they_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").write_bytes(records(1))
    (tmp_path / "folder" / "data_batch_1.bin").write_bytes(records(2))
    (tmp_path / "folder" / "data_batch_2.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(SettingsError, match=r"data_batch_2\.bin', all the .* leaving the folder") as raised:
        opened(tmp_path / "folder")
    assert f"links: [{tmp_path}] would follow it" in str(raised.value)
    source = opened(tmp_path / "folder", links=(str(tmp_path),))
    assert usable(source) == [("data_batch_1/00000", "bird"), ("data_batch_2/00000", "automobile")]
    (tmp_path / "kept").mkdir()
    (tmp_path / "secret").rename(tmp_path / "kept" / "data")
    (tmp_path / "folder" / "data_batch_2.bin").unlink()
    (tmp_path / "folder" / "data_batch_2.bin").symlink_to("../kept/data")
    assert len(usable(opened(tmp_path / "folder"))) == 2, "auto: in a folder beside it"
    with pytest.raises(SettingsError, match="leaving the folder"):
        opened(tmp_path / "folder", links="inside")


def test_an_archive_bomb_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a", *BATCHES, member("filler", b"\0" * 3_000_000))
    with pytest.raises(UserError, match="unpacks to more than 1000000 bytes"):
        opened(path, max_unpacked_bytes=1_000_000).entries()


def test_pickles_are_never_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = archive(tmp_path / "a", member("cifar-10-batches-py/data_batch_1", pickle.dumps(Trap())))
    with pytest.raises(UserError, match="pickles, which are never read; fetch the binary version"):
        opened(path).entries()
    assert not (tmp_path / "sprung").exists()


def test_damaged_and_foreign_archives_are_refused(tmp_path: Path) -> None:
    data = archive(tmp_path / "whole", *BATCHES).read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    (tmp_path / "text").write_text("hello" * 1000)
    (tmp_path / "xz").write_bytes(lzma.compress(b"no tar at all" * 100)[:-20])
    for name in ("cut", "text", "xz"):
        with pytest.raises(UserError, match="no whole tar archive"):
            opened(tmp_path / name).entries()
    with pytest.raises(UserError, match="holds no data_batch"):
        opened(archive(tmp_path / "other", member("a.txt", b"x"))).entries()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ingest\.source\.path: .* does not exist"):
        opened(tmp_path / "no")
    with pytest.raises(SettingsError, match="holds no data_batch"):
        opened(tmp_path)


def test_the_real_archive(real_data: Path) -> None:
    path = real_data / "cifar10-first4000-binary.tar.xz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    source = opened(path)
    entries = source.entries()
    assert (len(entries), source.classes(), refused(source)) == (4000, CLASSES, {})
    assert [entry.label for entry in entries[:4]] == ["frog", "truck", "truck", "deer"]  # as everyone knows it
    assert source.read(entries[0], Limits())[0, 0].tolist() == [59, 62, 63]
