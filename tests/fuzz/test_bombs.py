"""Small files that stand for large ones: refused before memory grows, by a process that may not take 512 MiB more."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import bombs
import limited
import numpy as np
import pyarrow as pa
import pytest
import readers
import torch
from bombs import MIB
from pyarrow import parquet

from pipeline.assets import inception
from pipeline.data import images, waves
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources import cifar10, csv, idx, wav_folder
from pipeline.errors import UserError
from pipeline.formats import search, shards
from pipeline.scoring import precomputed
from pipeline.scoring.folders import open_folder
from pipeline.storage import files
from pipeline.types import DataSpec

MUCH = 800  # MiB
OUT_OF_MEMORY = "memory"  # a reader that ran out of it had not looked before


def tar(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    source = cifar10.Source(cifar10.Config(path=str(path)))
    source.check()
    source.entries()


HARMLESS = {"a chain of headers", "copies of headers"}


def pax(kind: bytes, megabytes: int) -> bytes:
    content = gzip.compress(b"", 1) if not megabytes else b""
    return content + bombs.gzipped(
        bombs.header("././@LongLink", megabytes * MIB, kind), bombs.header("x", 0) + bombs.END, megabytes=megabytes
    )


def chain(count: int) -> bytes:
    """Extended headers, one of the other, as tarfile reads them: in a recursion."""
    one = bombs.header("x", 12, tarfile.XHDTYPE) + b"12 path=x/y\n".ljust(512, b"\0")
    return one * count + bombs.header("x", 0) + bombs.END


def many_globals() -> bytes:
    """Entries that hold for all members after them, of which each is given a copy."""
    lines = b"".join(b"12 k%04d=xx\n" % number for number in range(500))
    extra = bombs.header("g", len(lines), tarfile.XGLTYPE) + lines.ljust(-(-len(lines) // 512) * 512, b"\0")
    return extra + bombs.header("x", 0) * 1000 + bombs.END


def sparse_map() -> bytes:
    """A list of pieces that is longer than the archive may hold."""
    text = b"22 GNU.sparse.major=1\n" + b"22 GNU.sparse.minor=0\n" + b"27 GNU.sparse.realsize=100\n"
    extra = bombs.header("x", len(text), tarfile.XHDTYPE) + text.ljust(512, b"\0")
    lines = b"99999999\n" + b"1\n" * (8 * MIB)
    return extra + bombs.header("x", len(lines)) + lines.ljust(-(-len(lines) // 512) * 512, b"\0") + bombs.END


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "an extended header": lambda: pax(tarfile.XHDTYPE, MUCH),
    "a header of the whole archive": lambda: pax(tarfile.XGLTYPE, MUCH),
    "a long name": lambda: pax(tarfile.GNUTYPE_LONGNAME, MUCH),
    "a long link": lambda: pax(tarfile.GNUTYPE_LONGLINK, MUCH),
    "a chain of headers": lambda: chain(900),
    "copies of headers": many_globals,
    "a map of a sparse file": sparse_map,
    "a header of digits": lambda: extended(b"1" * 2**19),
    "a header of beginnings": lambda: extended(b"2 " * 2**18 + b"="),
    "a value of digits": lambda: extended(bombs.record(b"comment", b"1" * 2**19)),
    "a value of character sets": lambda: extended(bombs.record(b"comment", b"9 hdrcharset=x" * 2**15)),
    "a member": lambda: bombs.gzipped(bombs.header("data_batch_1.bin", 2000 * MIB), bombs.END, megabytes=1500),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_archives(tmp_path: Path, what: str) -> None:
    data = ARCHIVES[what]()
    refused(lambda: tar(tmp_path / "cifar.tar.gz", data))


@pytest.mark.parametrize("what", ARCHIVES)
def test_archives_of_images(tmp_path: Path, what: str) -> None:
    data = ARCHIVES[what]()
    found = limited.call(lambda: readers._archive(data, tmp_path))
    assert found.how in (("refused", "decoded") if what in HARMLESS else ("refused",)), found


def test_a_zip_archive_of_very_many_members(tmp_path: Path) -> None:
    entry = b"PK\1\2" + bytes(42)
    table = entry * (2 * MIB)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(table), 4, 0)
    assert "max_members" in refused(lambda: readers._archive(b"PK\3\4" + table + end, tmp_path))


def test_a_parquet_file_whose_rows_all_name_one_large_value(tmp_path: Path) -> None:
    file = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array([bytes(4 * MIB)]))
    parquet.write_table(pa.table({"image": column}), file, store_schema=False, dictionary_pagesize_limit=8 * MIB)
    said = limited.call(lambda: readers._parquet(file.getvalue(), tmp_path))
    assert (said.how, "max_unpacked_bytes" in said.what) == ("refused", True), said


@pytest.mark.parametrize("line", [b"1,2\n", b"," * 1000 + b"\n"])
def test_a_table_of_the_largest_size_takes_little_memory(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(b"a,b\n" + line * (4 * MIB // len(line)))
    config = csv.Config(path=str(tmp_path / "x.csv"))
    found = limited.call(lambda: csv.Source(config).entries(), megabytes=512, seconds=60)
    assert found.how == "decoded", found


def extended(content: bytes) -> bytes:
    """An archive, well but for an extended header of its first member."""
    return bombs.header("x", len(content), tarfile.XHDTYPE) + padded(content) + readers.tar_file()


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def test_an_archive_with_extended_headers_as_writers_make_them(tmp_path: Path) -> None:
    lines = bombs.record(b"comment", b"9" * 40) + bombs.record(b"SCHILY.xattr.user.x", b"a\nb=\xff\n 12 ")
    tar(tmp_path / "cifar.tar", extended(lines + bombs.record(b"hdrcharset", b"BINARY")))


def refused(function: Callable[[], object]) -> str:
    found = limited.call(function)
    assert (found.how, OUT_OF_MEMORY in found.what) == ("refused", False), found
    return found.what


def test_an_xz_archive_that_asks_for_memory(tmp_path: Path) -> None:
    refused(lambda: tar(tmp_path / "cifar.tar.xz", xz_with_dictionary(37)))


def xz_with_dictionary(size: int) -> bytes:
    """An .xz whose header asks for a dictionary of 2^(size / 2 + 12) bytes, or so."""
    import lzma

    data = bytearray(lzma.compress(readers.tar_file()))
    length = (data[12] + 1) * 4
    place = data.index(b"\x21\x01", 12, 12 + length) + 2
    data[place] = size
    data[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(data[12 : 12 + length - 4]))
    return bytes(data)


def test_idx_of_very_many_tiny_images(tmp_path: Path) -> None:
    count = 300 * MIB
    head = struct.pack(">BBBB3I", 0, 0, 8, 3, count, 1, 1)
    bombs.sparse(tmp_path / "images", count + len(head), head)
    said = refused(lambda: idx.Source(idx.Config(images=str(tmp_path / "images"))).entries())
    assert "max_items" in said


def test_idx_that_unpacks_to_much(tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(bombs.gzipped(b"\0\0\x08\3", megabytes=MUCH))
    config = idx.Config(images=str(tmp_path / "images.gz"), max_unpacked_bytes=MIB)
    assert "max_unpacked_bytes" in refused(lambda: idx.Source(config).entries())


def test_sounds_are_not_read_to_be_listed(tmp_path: Path) -> None:
    data = readers.wav(1, 16)
    head = data[: data.index(b"data") + 4] + struct.pack("<I", 2**31 - 10_000)
    bombs.sparse(tmp_path / "large.wav", 2**31, head)
    (tmp_path / "small.wav").write_bytes(data)
    source = wav_folder.Source(wav_folder.Config(folder=str(tmp_path)))

    def listed() -> None:
        source.check()
        large, small = source.entries()
        source.read(small, Limits())
        source.read(large, Limits())

    assert "too many bytes" in refused(listed)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "encoding"), [(8, 1), (32, 3)])
def test_a_sound_of_the_largest_size_is_decoded_in_little_memory(bits: int, encoding: int) -> None:
    count = (60 * MIB) // (bits // 8)
    data = readers.wav(encoding, bits, 1, count)
    found = limited.call(
        lambda: waves.to_peak(waves.with_channels(waves.decode(data)[0], 1)), megabytes=800, seconds=60
    )
    assert found.how == "decoded", found


def test_npz_with_a_large_member_that_nobody_wants(tmp_path: Path) -> None:
    path = bombs.unpacking_to(tmp_path / "x.npz", "unwanted.npy", MUCH)
    assert "unwanted" in refused(lambda: precomputed.read_statistics(path, "reference.statistics"))


@pytest.mark.parametrize("name", ["mu.npy", "features.npy"])
def test_npz_whose_members_say_that_they_are_large(tmp_path: Path, name: str) -> None:
    data = bombs.npy("<f8", "(1000000000000,)", bytes(100))
    path = bombs.packed_as(tmp_path / "x.npz", name, data, zlib.crc32(data), len(data))
    refused(lambda: precomputed.read_table(path, "reference.statistics"))
    bombs.packed_as(tmp_path / "x.npz", name, data, zlib.crc32(data), 2**31)
    refused(lambda: precomputed.read_table(path, "reference.statistics"))


@pytest.mark.parametrize(
    ("descr", "shape"), [("<f4", "(1000000000000,)"), ("V0", "(1000000000000,)"), ("<U99999999", "(9,)")]
)
def test_npy_whose_header_lies(tmp_path: Path, descr: str, shape: str) -> None:
    (tmp_path / "x.npy").write_bytes(bombs.npy(descr, shape, bytes(64)))
    refused(lambda: precomputed.read_table(tmp_path / "x.npy", "--real"))
    member = (tmp_path / "x.npy").read_bytes()
    spec = DataSpec("rows", (10**6,), dtype="float32")
    refused(lambda: shards.decode(member, spec.x, "here"))


def test_pth_of_packed_members(tmp_path: Path) -> None:
    path = bombs.unpacking_to(tmp_path / "x.pth", "x/data/0", MUCH)
    refused(lambda: inception.read(path))


def test_pth_of_members_that_share_their_bytes(tmp_path: Path) -> None:
    path = bombs.overlapping(tmp_path / "x.pth", 1000)
    refused(lambda: inception.read(path))


@pytest.mark.parametrize("kind", ["sparse", "compressed", "meta", "nested"])
def test_pth_of_tensors_without_plain_numbers(tmp_path: Path, kind: str) -> None:
    tensor = torch.zeros(inception.shapes(folded=True)["Conv2d_1a_3x3.weight"])
    odd: dict[str, Callable[[], torch.Tensor]] = {
        "sparse": tensor.to_sparse,
        "compressed": tensor[0, 0].to_sparse_csr,
        "meta": lambda: tensor.to("meta"),
        "nested": lambda: torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"Conv2d_1a_3x3.weight": odd[kind]()}, tmp_path / "x.pth")
    assert "no plain tensor" in refused(lambda: inception.read(tmp_path / "x.pth"))


def test_legacy_pth_that_says_that_it_is_large(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"x": torch.zeros(100)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data.count(b"Kd") >= 1  # 100, as pickle writes it
    path.write_bytes(data.replace(b"Kd", b"J\xff\xff\xff\x7f"))
    found = limited.call(lambda: inception.read(path))
    assert found.how == "refused", found


def test_pictures() -> None:
    spec = DataSpec("image", (4, 8, 8))
    data = bombs.png(16384, 16384, MUCH)
    refused(lambda: shards.decode(data, spec.x, "here"))
    refused(lambda: shards.decode(data, DataSpec("image", (4, 16384, 16384)).x, "here"))
    refused(lambda: images.decode(data, Limits()))


@pytest.mark.parametrize("scans", [200, 20_000])
def test_a_jpeg_that_tells_its_picture_again_and_again(scans: int) -> None:
    data = bombs.jpeg(4096, scans)
    assert "too many scans" in refused(lambda: images.decode(data, Limits()))


def test_a_jpeg_of_few_scans_with_a_film_behind_it_is_decoded() -> None:
    data = bombs.jpeg(64, 20) + bombs.jpeg(64, 500) + b"\xff\xda\0\0" * 5000
    assert images.decode(data, Limits()).shape == (64, 64, 1)


def test_the_largest_picture_that_is_taken_is_decoded_in_little_memory() -> None:
    data = bombs.png(4096, 4095, 65)
    found = limited.call(lambda: images.decode(data, IngestSettings().limits))
    assert found.how == "decoded", found


def test_yaml_that_stands_for_very_much(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    text = "\n".join(lines)
    said = refused(lambda: readers._params(text.encode(), tmp_path))
    assert "line 4" in said
    assert "*a2" in said
    (tmp_path / "best.yaml").write_text(text)
    refused(lambda: search.load_best(tmp_path))
    refused(lambda: readers._params(b"x: " + b"[" * 100_000, tmp_path))


def test_aliases_as_they_are_written_for_what_stands_twice_are_read_in_a_search_result(tmp_path: Path) -> None:
    shared = [1, 2]
    import yaml

    content = {"format_version": 1, "note": "", "repeatable": True, "score": 1.0, "trial": 1}
    text = yaml.safe_dump({**content, "overrides": {"train.x": shared, "train.y": shared}})
    assert "*id001" in text
    (tmp_path / "best.yaml").write_text(text)
    assert search.load_best(tmp_path).overrides == {"train.x": [1, 2], "train.y": [1, 2]}
    search.save_best(tmp_path, search.Best({"train.x": shared, "train.y": shared}))
    assert "*" not in (tmp_path / "best.yaml").read_text()


@pytest.mark.parametrize("text", [b"[" * MIB, b'{"a":' * MIB, b"9" * 5000, b"[" * 500 + b"]" * 500, b'"\\ud800"'])
def test_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.json").write_bytes(text)
    refused(lambda: files.read_json(tmp_path / "x.json", "something"))


def test_scored_folders_of_devices_and_pipes(tmp_path: Path) -> None:
    import os

    (tmp_path / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.png")
    assert "2 broken" in refused(lambda: open_folder(tmp_path, "--fake"))


@pytest.mark.parametrize("name", ["best.yaml", "manifest.json", "params.yaml"])
def test_pipes_in_the_place_of_documents(tmp_path: Path, name: str) -> None:
    import os

    os.mkfifo(tmp_path / name)
    read = {
        "best.yaml": lambda: search.load_best(tmp_path),
        "manifest.json": lambda: shards.Manifest.load(tmp_path),
        "params.yaml": lambda: readers.params.read(tmp_path / name),
    }
    refused(read[name])


def test_a_reader_that_takes_too_much_is_noticed() -> None:
    """What the tests above stand on."""
    found = limited.call(lambda: np.ones(MUCH * MIB, np.uint8))
    assert (found.how, "MemoryError" in found.what) == ("escaped", True)

    def crash() -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    assert limited.call(crash).how == "killed"

    def for_ever() -> None:
        while True:
            pass

    assert limited.call(for_ever, seconds=0.3).how == "late"

    def ours() -> None:
        raise UserError("no")

    assert limited.call(ours).how == "refused"
