"""Sources that read from addresses, by a real server and a real object store."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import objects
import pytest
from numpy.typing import NDArray
from serving import Served, serving

from pipeline import plugins
from pipeline.data import packing
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Limits
from pipeline.errors import SettingsError, UserError
from pipeline.storage import fetched, filesystems

Noise = Callable[..., NDArray[np.uint8]]
Png = Callable[..., bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    fetched.local.cache_clear()
    yield tmp_path / "cache"
    fetched.local.cache_clear()


@pytest.fixture
def files(noise: Noise, png: Png) -> dict[str, bytes]:
    return {
        f"{label}/{number}.png": png(noise(3 * place + number)) for place, label in enumerate("ab") for number in (0, 1)
    }


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture
def served(files: dict[str, bytes]) -> Generator[Served]:
    images = struct.pack(">4B3I", 0, 0, 8, 3, 2, 4, 5) + bytes(range(40))
    table = io.StringIO()
    csv.writer(table).writerows([("file", "label"), *((name, "one") for name in files)])
    content = {
        "/x.zip": zipped(files),
        "/labels.csv": table.getvalue().encode(),
        "/images.gz": gzip.compress(images),
        "/labels": struct.pack(">4BI", 0, 0, 8, 1, 2) + b"\1\0",
        "/cifar.tar": tarred({"data_batch_1.bin": (b"\3" + bytes(3072)) * 2}),
        "/s/0.tar": tarred({"0.png": files["a/0.png"], "0.cls": b"0"}),
        "/s/1.tar": tarred({"0.png": files["b/0.png"], "0.cls": b"1"}),
    }
    with serving(content) as found:
        yield found


SOURCES: dict[str, dict[str, Any]] = {
    "archive": {"path": "/x.zip", "labels": "/labels.csv"},
    "idx": {"images": "/images.gz", "labels": "/labels"},
    "cifar10": {"path": "/cifar.tar"},
    "webdataset": {"urls": "/s/{0..1}.tar"},
}


def opened(name: str, prefix: str, **keys: Any) -> DataSource[Any]:
    settings = {key: prefix + value for key, value in (keys or SOURCES[name]).items()}
    return plugins.load("data.sources", {"name": name, **settings}, "ingest.source")


@pytest.mark.parametrize("name", SOURCES)
def test_files_of_a_server(name: str, served: Served) -> None:
    source = opened(name, served.url)
    assert served.asked == []
    described = source.describe()
    assert served.url not in str(described)
    assert served.asked == []
    assert source.named() == {}
    source.check()
    there: DataSource[Any] = pickle.loads(pickle.dumps(source))
    assert served.url.encode() in pickle.dumps(source)
    entries = list(source.entries())
    assert entries
    assert list(there.entries()) == entries
    for entry in entries:
        assert np.array_equal(there.read(entry, Limits()), source.read(entry, Limits()))
    assert len(served.fetched) == len(set(served.fetched)) == len(source.remote())


def test_what_a_source_says_of_an_address(served: Served) -> None:
    source = opened("archive", served.url, path="/x.zip")
    (before,) = fetched.accounts(source.remote())
    assert before["address"] == f"{served.url}/x.zip"
    assert before["bytes"] == len(served.files["/x.zip"])
    served.files["/x.zip"] += b"x"
    assert fetched.accounts(source.remote()) != [before]


def test_errors_name_the_setting(served: Served) -> None:
    with pytest.raises(UserError, match=r"ingest\.source\.path: .*/none\.zip: the server answers 404"):
        opened("archive", served.url, path="/none.zip").check()
    with pytest.raises(UserError, match=r"ingest\.source\.urls: .*/2\.tar: the server answers 404"):
        opened("webdataset", served.url, urls="/s/{1..2}.tar").check()
    with pytest.raises(SettingsError, match="source archive"):
        opened("image_folder", served.url, folder="/x.zip").check()


@pytest.mark.slow
def test_a_prefix_of_a_bucket_is_a_folder(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_bytes(data)
    with objects.s3() as uri:
        system, root = filesystems.opened(uri)
        for name, data in files.items():
            with system.open_output_stream(f"{root}/here/{name}") as file:
                file.write(data)
        head, _, options = uri.partition("?")
        for out, folder in (("one", str(tmp_path / "here")), ("two", f"{head}/here?{options}")):
            settings = IngestSettings(source={"name": "image_folder", "folder": folder}, holdout_fraction=0.5)
            packing.ingest(settings, tmp_path / out)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / out).iterdir()} for out in ("one", "two"))
    assert one == two
