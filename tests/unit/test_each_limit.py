"""Every limit of the table: what is just within it is read, what is just beyond it is refused."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import os
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import bombs
import numpy as np
import pytest
import readers
import torch
from PIL import Image
from torch import nn

from pipeline import limits, plugins
from pipeline.assets import inception
from pipeline.cli import generate
from pipeline.contract import AnyFamily, Resizing
from pipeline.contract.planned import planned
from pipeline.data import clips, images, kinds, listing, regular, unpacked, voxels, waves
from pipeline.data.settings import IngestSettings
from pipeline.data.source import Limits
from pipeline.data.sources import (
    _captions,
    _labels,
    _members,
    _samples,
    _tables,
    archive,
    cifar10,
    csv,
    idx,
    image_folder,
    video_folder,
    voxel_folder,
)
from pipeline.errors import BrokenArtefact, Damaged, Rejected, SettingsError, UserError
from pipeline.explorations.projection import Config as Projection
from pipeline.formats import model, shards
from pipeline.limits import LIMITS
from pipeline.registry import travelling
from pipeline.sampling import samples, tiling
from pipeline.scoring import precomputed
from pipeline.storage import fetched, files, tables, tensors, yaml_text, zips
from pipeline.storage.damage import parse_json
from pipeline.storage.download import Download
from pipeline.types import DataSpec

SERVED = {"SERVED_ROWS", "SERVED_TEXT"}  # a registered model's own tests try these
OURS = (UserError, Rejected, Damaged)
Read = Callable[[Path, int], object]
TRIED: dict[str, Read] = {}


def tries(function: Read) -> Read:
    """`beyond` is 0, and it is to be read, or 1, and it is to be refused."""
    TRIED[function.__name__.upper()] = function
    return function


@tries
def item_bytes(folder: Path, beyond: int) -> object:
    assert IngestSettings().max_bytes == Limits().max_bytes == limits.ITEM_BYTES
    return regular.read(bombs.sparse(folder / "x.png", limits.ITEM_BYTES + beyond), limits.ITEM_BYTES)


@tries
def item_pixels(folder: Path, beyond: int) -> object:
    assert IngestSettings().max_pixels == Projection(images="x").max_pixels == limits.ITEM_PIXELS
    side = 2**12
    assert side**2 == limits.ITEM_PIXELS
    return images.decode(bombs.png(side, side + beyond, 65), Limits())


@tries
def most_pixels(folder: Path, beyond: int) -> object:
    settings = {"source": {"name": "digits"}, "max_pixels": limits.MOST_PIXELS + beyond}
    return checked(IngestSettings, settings)


@tries
def translated_pixels(folder: Path, beyond: int) -> object:
    side = 2**12
    assert 16 * side**2 == limits.TRANSLATED_PIXELS
    return tiling.cut((side, side + beyond), Resizing(scale=4), 512, 64)


def checked(model: type[IngestSettings], data: dict[str, object]) -> object:
    from pipeline.settings import validate

    return validate(model, data, "ingest")


@tries
def wav_chunks(folder: Path, beyond: int) -> object:
    whole = readers.wav(1, 16)
    assert whole.index(b"fmt ") == 24  # a LIST of 4 bytes before it: with `fmt ` and `data` three chunks
    more = b"JUNK\0\0\0\0" * (limits.WAV_CHUNKS - 3 + beyond)
    return waves.decode(whole[:12] + more + whole[12:])


@tries
def sound_values(folder: Path, beyond: int) -> object:
    """The header of a FLAC file that says so, since a true one takes a minute to write."""
    data = bytearray(readers.compressed()[0])
    data[21] &= 0xF0
    data[22:26] = (limits.SOUND_VALUES + beyond).to_bytes(4, "big")
    (folder / "a.flac").write_bytes(data)
    return waves.read_header(folder / "a.flac")


@tries
def voxel_cells(folder: Path, beyond: int) -> object:
    assert voxel_folder.Config(folder="x").max_cells == limits.VOXEL_CELLS
    height = limits.VOXEL_CELLS // 2**16 + beyond
    runs = (b"\0\xff" * (height * 2**16 // 255 + 1))[: 2 * (height * 2**16 // 255)]
    rest = height * 2**16 % 255
    head = f"#binvox 1\ndim 256 256 {height}\ndata\n".encode()
    data = head + runs + (bytes([0, rest]) if rest else b"")
    return voxels.decode(data, "x.binvox", limits.VOXEL_CELLS)


@tries
def voxels_unpacked_bytes(folder: Path, beyond: int) -> object:
    assert voxel_folder.Config(folder="x").max_unpacked_bytes == limits.VOXELS_UNPACKED_BYTES
    with (folder / "x.npz").open("wb") as file:
        np.savez_compressed(file, a=np.zeros((3, 64), np.uint8))
    config = voxel_folder.Config(folder=str(folder / "x.npz"), max_unpacked_bytes=3 * 64 - beyond)
    return voxel_folder.Source(config).check()


@tries
def clip_pixels(folder: Path, beyond: int) -> object:
    assert video_folder.Config(folder="x").max_clip_pixels == limits.CLIP_PIXELS
    frames = [Image.new("RGB", (4, 2), (number, 0, 0)) for number in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return clips.animated(file.getvalue(), clips.Cut(3, 1, 0, 3 * 8 - beyond), Limits())


@tries
def idx_unpacked_bytes(folder: Path, beyond: int) -> object:
    assert idx.Config(images="x").max_unpacked_bytes == limits.IDX_UNPACKED_BYTES
    data = readers.idx_seeds()[0]
    (folder / "x.gz").write_bytes(gzip.compress(data))
    config = idx.Config(images=str(folder / "x.gz"), max_unpacked_bytes=len(data) - beyond)
    return idx.Source(config).native_shape()


@tries
def idx_items(folder: Path, beyond: int) -> object:
    count = limits.IDX_ITEMS + beyond
    head = struct.pack(">BBBB3I", 0, 0, 8, 3, count, 1, 1)
    bombs.sparse(folder / "x", count + len(head), head)
    return idx.Source(idx.Config(images=str(folder / "x"))).native_shape()


def cifar(folder: Path, data: bytes, most: int | None = None) -> object:
    (folder / "x.tar").write_bytes(data)
    config = cifar10.Config(path=str(folder / "x.tar"), part="all")
    return cifar10.Source(config if most is None else config.model_copy(update={"max_unpacked_bytes": most})).entries()


@tries
def archive_unpacked_bytes(folder: Path, beyond: int) -> object:
    assert cifar10.Config(path="x").max_unpacked_bytes == limits.ARCHIVE_UNPACKED_BYTES
    with tarfile.open(fileobj=io.BytesIO(data := readers.tar_file())) as tar:
        whole = tar.getmembers()[-1].offset_data + 7 * 512  # 3,073 bytes in blocks
    return cifar(folder, data, whole + 512 - beyond)  # a block of zeros ends it


@tries
def archive_header_bytes(folder: Path, beyond: int) -> object:
    extra = limits.ARCHIVE_HEADER_BYTES - 512 + 512 * beyond
    data = bombs.header("././@LongLink", extra, tarfile.GNUTYPE_LONGNAME) + b"n".ljust(extra, b"\0")
    return cifar(folder, data + readers.tar_file())


@tries
def archive_members(folder: Path, beyond: int) -> object:
    more = bombs.header("x", 0) * (limits.ARCHIVE_MEMBERS - 3 + beyond)
    return cifar(folder, more + readers.tar_file())


def member_names(folder: Path, data: bytes) -> object:
    (folder / "x").write_bytes(data)
    return _members.listed(folder / "x", _members.Caps())


@tries
def archive_items(folder: Path, beyond: int) -> object:
    assert archive.Config(path="x").max_members == limits.ARCHIVE_ITEMS
    entry = b"PK\1\2" + bytes(42)
    table = entry * (limits.ARCHIVE_ITEMS + beyond)
    (folder / "x").write_bytes(table + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0, 0, len(table), 0, 0))
    try:
        return zips.table(folder / "x", limits.ARCHIVE_ITEMS, "max_members")
    except Damaged:
        return None  # the entries are empty: they are counted before any is looked at


@tries
def archive_member_header_bytes(folder: Path, beyond: int) -> object:
    extra = limits.ARCHIVE_HEADER_BYTES + limits.ARCHIVE_MEMBER_HEADER_BYTES - 512 + 512 * beyond
    data = bombs.header("././@LongLink", extra, tarfile.GNUTYPE_LONGNAME) + b"n".ljust(extra, b"\0")
    return member_names(folder, data + bombs.header("x", 0) + bombs.END)


@tries
def archive_table_bytes(folder: Path, beyond: int) -> object:
    size = limits.ARCHIVE_TABLE_BYTES + beyond
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0, 0, size, 0, 0)
    with bombs.sparse(folder / "x", size).open("ab") as file:
        file.write(end)
    try:
        return zips.table(folder / "x", 1, "max_members")
    except Damaged as error:
        if "allowed" in str(error):
            raise
        return None  # it holds zeros


@tries
def unpacked_kept_bytes(folder: Path, beyond: int) -> object:
    os.environ["ZEROSUM_CACHE"] = str(folder)
    try:
        for name in ("old", "new"):
            (folder / name).write_text(name)
        older = unpacked.kept(folder / "old", "x", lambda file: file.write(b"x") and None)
        os.truncate(older, limits.UNPACKED_KEPT_BYTES - 1 + beyond)
        unpacked.kept(folder / "new", "x", lambda file: file.write(b"x") and None)
    finally:
        del os.environ["ZEROSUM_CACHE"]
    if not older.exists():
        raise UserError("it was dropped")
    return None


@tries
def archive_xz_bytes(folder: Path, beyond: int) -> object:
    from test_bombs import xz_with_dictionary

    return cifar(folder, xz_with_dictionary(30 + 4 * beyond))  # 128 MiB, and 512


@tries
def source_bytes(folder: Path, beyond: int) -> object:
    # There is no room for so much: that is found behind the limit.
    found = fetched.Remote({"": (limits.SOURCE_BYTES + beyond, "")}, True)
    try:
        return fetched._check_size(found, "https://x/y", "where", folder)
    except UserError as error:
        if "at most" in str(error):
            raise
        return None


@tries
def source_files(folder: Path, beyond: int) -> object:
    found = fetched.Remote(dict.fromkeys(map(str, range(limits.SOURCE_FILES + beyond)), (0, "")), False)
    return fetched._check_size(found, "s3://x/y", "where", folder)


@tries
def webdataset_shards(folder: Path, beyond: int) -> object:
    return _samples.expanded(f"{{1..{limits.WEBDATASET_SHARDS + beyond}}}.tar")


@tries
def parquet_footer_bytes(folder: Path, beyond: int) -> object:
    size = limits.PARQUET_FOOTER_BYTES + beyond
    with bombs.sparse(folder / "x.parquet", size + 4, b"PAR1").open("ab") as file:
        file.write(struct.pack("<I", size) + b"PAR1")
    try:
        return _tables.head(folder / "x.parquet")
    except UserError as error:
        if "allowed" in str(error):
            raise
        return None  # it holds zeros


@tries
def rows_bytes(folder: Path, beyond: int) -> object:
    assert csv.Config(path="x").max_bytes == limits.ROWS_BYTES
    data = b"a,b\n1,2\n"
    (folder / "x.csv").write_bytes(data)
    return csv.Source(csv.Config(path=str(folder / "x.csv"), max_bytes=len(data) - beyond)).entries()


@tries
def captions_bytes(folder: Path, beyond: int) -> object:
    assert image_folder.Config(folder="x").max_captions_bytes == limits.CAPTIONS_BYTES
    data = b"file,caption\na.png,a cat\n"
    (folder / "x.csv").write_bytes(data)
    found = image_folder.Config(folder="x", captions=str(folder / "x.csv"), max_captions_bytes=len(data) - beyond)
    return _captions.read(found)


@tries
def caption_numbers(folder: Path, beyond: int) -> object:
    np.save(folder / "x.npy", np.zeros((1, limits.CAPTION_NUMBERS + beyond), dtype=np.float16))
    found = image_folder.Config(folder="x", captions="x.csv", caption_vectors=str(folder / "x.npy"))
    return _captions.vectors(found)


@tries
def texts_bytes(folder: Path, beyond: int) -> object:
    (folder / "x.txt").write_bytes(b"a cat\n".ljust(limits.TEXTS_BYTES + beyond))
    return generate.sentences(None, folder / "x.txt")


@tries
def csv_bytes(folder: Path, beyond: int) -> object:
    assert image_folder.Config(folder="x").max_labels_bytes == limits.CSV_BYTES
    data = b"file,label\na.png,cat\n"
    (folder / "x.csv").write_bytes(data)
    return _labels.rows(folder / "x.csv", len(data) - beyond)


@tries
def csv_line_characters(folder: Path, beyond: int) -> object:
    field = "y" * (limits.CSV_LINE_CHARACTERS // 16)
    line = "a.png,cat," + ",".join([field] * 20)
    line = line[: limits.CSV_LINE_CHARACTERS - 1 + beyond]
    (folder / "x.csv").write_text(f"file,label\n{line}\n")
    return _labels.rows(folder / "x.csv")


@tries
def csv_field_characters(folder: Path, beyond: int) -> object:
    (folder / "x.csv").write_text(f"file,label\na.png,{'c' * (limits.CSV_FIELD_CHARACTERS + beyond)}\n")
    return _labels.rows(folder / "x.csv")


@tries
def class_names_bytes(folder: Path, beyond: int) -> object:
    (folder / "batches.meta.txt").write_bytes(b"cat\ndog\n".ljust(limits.CLASS_NAMES_BYTES + beyond, b"\n"))
    (folder / "test_batch.bin").write_bytes(bytes(3073))
    return cifar10.Source(cifar10.Config(path=str(folder), part="test")).classes()


@tries
def yaml_bytes(folder: Path, beyond: int) -> object:
    (folder / "x.yaml").write_text("a: 1 #".ljust(limits.YAML_BYTES + beyond, "-"))
    return yaml_text.read(folder / "x.yaml")


@tries
def yaml_depth(folder: Path, beyond: int) -> object:
    depth = limits.YAML_DEPTH - 1 + beyond
    return yaml_text.load("[" * depth + "1" + "]" * depth, "x")


@tries
def yaml_values(folder: Path, beyond: int) -> object:
    values = limits.YAML_VALUES - 3  # the section, its key and the list
    return yaml_text.load(f"a: [{'1,' * (values + beyond)}]", "x")


@tries
def jpeg_scans(folder: Path, beyond: int) -> object:
    return images.decode(bombs.jpeg(64, limits.JPEG_SCANS - 1 + beyond), Limits())


@tries
def networks_tensors(folder: Path, beyond: int) -> object:
    class Many:
        def build(self, spec: DataSpec) -> dict[str, nn.Module]:
            return {"generator": nn.ParameterList([torch.ones(1)] * (limits.NETWORKS_TENSORS + beyond))}

    return planned(cast(AnyFamily, Many()), DataSpec("image", (1, 8, 8)))


@tries
def yaml_repeated(folder: Path, beyond: int) -> object:
    values = limits.YAML_REPEATED // 2  # the list itself is one
    text = f"a: &a [{', '.join(['1'] * (values - 1 + beyond))}]\nb: [*a, *a]"
    return yaml_text.load(text, "x")


@tries
def json_bytes(folder: Path, beyond: int) -> object:
    (folder / "x.json").write_bytes(b"{}".ljust(limits.JSON_BYTES + beyond))
    return files.read_json(folder / "x.json", "something")


@tries
def json_depth(folder: Path, beyond: int) -> object:
    depth = limits.JSON_DEPTH + beyond
    return parse_json("[" * depth + "]" * depth)


@tries
def json_digits(folder: Path, beyond: int) -> object:
    text = "9" * (limits.JSON_DIGITS + beyond)
    return parse_json(text), yaml_text.load(text, "x")


@tries
def record_bytes(folder: Path, beyond: int) -> object:
    """What a larger record names as grids are pictures as all others."""
    record = json.dumps({"exploration": "x", "grids": ["made"]}).encode()
    (folder / "explore.json").write_bytes(record.ljust(limits.RECORD_BYTES + beyond))
    (folder / "made.png").write_bytes(bombs.png(1, 1))
    if listing.listed(folder, kinds.IMAGES).items:
        raise Rejected("no grid")
    return None


@tries
def statistics_bytes(folder: Path, beyond: int) -> object:
    room = limits.STATISTICS_BYTES - 128  # what the header takes
    data = bombs.npy("|u1", f"({room},)")
    assert len(data) == 128
    path = bombs.packed_as(folder / "x.npz", "features.npy", data, zlib.crc32(data), limits.STATISTICS_BYTES + beyond)
    with pytest.raises(UserError) as raised:  # it is cut short; how much it says that it holds is looked at before
        precomputed.read_table(path, "--real")
    if "allowed" in str(raised.value):
        raise raised.value
    return None


@tries
def weights_bytes(folder: Path, beyond: int) -> object:
    path = bombs.sparse(folder / "x.pth", limits.WEIGHTS_BYTES + beyond)
    with pytest.raises(UserError) as raised:  # it is none; its size is looked at before
        inception.read(path)
    if "are read" in str(raised.value):
        raise raised.value
    return None


@tries
def pointer_bytes(folder: Path, beyond: int) -> object:
    """Where git keeps what a link leads to: a larger file names no folder, and the link leaves the data."""
    (folder / "elsewhere" / "annex" / "objects").mkdir(parents=True)
    (folder / "elsewhere" / "annex" / "objects" / "x.png").write_bytes(bombs.png(1, 1))
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "data" / ".git").write_bytes(b"gitdir: ../elsewhere\n".ljust(limits.POINTER_BYTES + beyond))
    (folder / "data" / "images" / "x.png").symlink_to(folder / "elsewhere" / "annex" / "objects" / "x.png")
    ((_, problem),) = listing.listed(folder / "data" / "images", kinds.IMAGES).items
    if problem is not None:
        raise Rejected(*problem)
    return None


@tries
def table_bytes(folder: Path, beyond: int) -> object:
    row = b"x" * 65_535 + b"\n"
    rows = row * (limits.TABLE_BYTES // len(row))
    (folder / "x.csv").write_bytes(rows + b"y" * beyond)
    return tables.read(folder / "x.csv")


def _package(folder: Path, sizes: list[int]) -> object:
    package = folder / f"zerosum_{'0' * 12}"
    package.mkdir()
    for number, size in enumerate(sizes):
        (package / f"m{number}.py").write_bytes(b"#" * size)
    return travelling._sources(package)


@tries
def code_files(folder: Path, beyond: int) -> object:
    return _package(folder, [1] * (limits.CODE_FILES + beyond))


@tries
def code_bytes(folder: Path, beyond: int) -> object:
    return _package(folder, [limits.CODE_BYTES // 2, limits.CODE_BYTES // 2 + beyond])


@tries
def networks_bytes(folder: Path, beyond: int) -> object:
    """A card that is honest about its weights, and not about networks that hold none of them."""
    spec, family = DataSpec("image", (1, 16, 16)), {"name": "dcgan", "preset": "smoke", "conditional": False}
    built = plugins.load("families", family)
    if beyond:
        family |= {"discriminator_width": 2**15, "max_width": 2**16, "generator_width": built.config.generator_width}
    states = {name: network.state_dict() for name, network in built.build(spec).items() if name in built.averaged}
    config = plugins.load("families", family).config.model_dump(mode="json")
    card = model.ModelCard("dcgan", config, spec, (), 0, 0, 0, True, {"manifest": "0" * 64}, {})
    model.save_model(folder, card, states)
    return samples.open_model(folder)


@tries
def tensors_header_bytes(folder: Path, beyond: int) -> object:
    length = limits.TENSORS_HEADER_BYTES + beyond
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (folder / "x.safetensors").write_bytes(struct.pack("<Q", length) + header + bytes(4))
    return tensors.read(folder / "x.safetensors")


@tries
def zip_table_bytes(folder: Path, beyond: int) -> object:
    data = bombs.npy("<f4", "(1,)", bytes(4))
    path = bombs.packed_as(folder / "x.npz", "features.npy", data, zlib.crc32(data), len(data))
    content = path.read_bytes()
    table = content.index(b"PK\1\2")
    entry = content[table:-22]
    # Comments, of entries that nobody wants, make it long.
    room = limits.ZIP_TABLE_BYTES + beyond - len(entry)
    full, rest = divmod(room, len(entry) + 60_000)
    other = entry.replace(b"features", b"unwanted")
    more = [_commented(other, 60_000)] * (full - 1)
    more += [
        _commented(other, (60_000 + rest) // 2),
        _commented(other, 60_000 + rest - (60_000 + rest) // 2 - len(entry)),
    ]
    whole = b"".join([entry, *more])
    assert len(whole) == limits.ZIP_TABLE_BYTES + beyond
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, len(more) + 1, len(more) + 1, len(whole), table, 0)
    path.write_bytes(content[:table] + whole + end)
    return precomputed.read_table(path, "--real")


def _commented(entry: bytes, length: int) -> bytes:
    return entry[:32] + struct.pack("<H", length) + entry[34:] + b"c" * length


@tries
def download_bytes(folder: Path, beyond: int) -> object:
    """By an account of ten bytes: the limit itself would take a minute."""
    assert Download("http://x", "0" * 64).limit == limits.DOWNLOAD_BYTES
    data = bytes(10)
    with served(data) as address:
        return Download(address, files.sha256_bytes(data), limit=10 - beyond).to(folder / "x")


@contextmanager
def served(data: bytes) -> Generator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/x"
        finally:
            server.shutdown()
            thread.join()


@tries
def shard_member_bytes(folder: Path, beyond: int) -> object:
    count = limits.SHARD_MEMBER_BYTES // 4 + beyond
    with pytest.raises(BrokenArtefact) as raised:  # it is cut short; what it would take is looked at before
        shards.decode(bombs.npy("<f4", f"({count},)"), DataSpec("rows", (count,), dtype="float32").x, "here")
    if "are read" in str(raised.value):
        raise raised.value
    return None


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in SERVED])
def test_what_is_beyond_a_limit_is_refused_and_what_is_within_is_not(tmp_path: Path, name: str) -> None:
    for beyond in (0, 1):
        (tmp_path / str(beyond)).mkdir()
    TRIED[name](tmp_path / "0", 0)
    with pytest.raises(OURS):
        TRIED[name](tmp_path / "1", 1)


def test_a_setting_that_raises_a_limit_is_a_setting() -> None:
    fields = {
        "ingest": IngestSettings.model_fields,
        "ingest.source": {
            **idx.Config.model_fields,
            **cifar10.Config.model_fields,
            **image_folder.Config.model_fields,
            **archive.Config.model_fields,
            **csv.Config.model_fields,
            **voxel_folder.Config.model_fields,
            **video_folder.Config.model_fields,
        },
    }
    for name, limit in LIMITS.items():
        section, _, key = limit.raised_by.partition(";")[0].rpartition(".")
        assert name in SERVED or not limit.raised_by or key in fields[section], name


def test_settings_errors_name_what_raises_the_limit(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"file,label\n")
    with pytest.raises(SettingsError, match="max_labels_bytes"):
        _labels.rows(tmp_path / "x.csv", 5)
