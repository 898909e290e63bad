from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from pathlib import Path

import pytest
from pyarrow import fs
from serving import Served, serving

from pipeline.errors import SettingsError, UserError
from pipeline.storage import fetched, filesystems

WHERE = "ingest.source.path"
CONTENT = bytes(range(256)) * 5000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sources"


@pytest.fixture
def served() -> Generator[Served]:
    with serving({"/a/x.zip": CONTENT}) as found:
        yield found


def local(address: str) -> Path:
    """As another process would ask."""
    fetched.local.cache_clear()
    return Path(fetched.local(address, WHERE))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_is_fetched_once(served: Served, cache: Path) -> None:
    address = f"{served.url}/a/x.zip"
    first = local(address)
    assert first.name == "x.zip"
    assert first.read_bytes() == CONTENT
    assert local(address) == first
    assert served.fetched == ["/a/x.zip"]
    assert first.is_relative_to(cache)
    assert cache.stat().st_mode & 0o077 == 0


def test_a_file_that_changed_is_fetched_again(served: Served) -> None:
    address = f"{served.url}/a/x.zip"
    local(address)
    served.files["/a/x.zip"] = CONTENT[::-1]
    assert local(address).read_bytes() == CONTENT[::-1]
    assert len(served.fetched) == 2


def test_a_server_that_says_nothing_is_asked_again(served: Served) -> None:
    served.silent = True
    local(f"{served.url}/a/x.zip")
    served.files["/a/x.zip"] = bytes(len(CONTENT))
    assert local(f"{served.url}/a/x.zip").read_bytes() == bytes(len(CONTENT))


def test_with_a_sha256_nobody_is_asked_again(served: Served) -> None:
    address = f"{served.url}/a/x.zip#sha256={digest(CONTENT)}"
    local(address)
    served.asked.clear()
    assert local(address).read_bytes() == CONTENT
    assert served.asked == []
    assert fetched.account(address, WHERE) == {"address": f"{served.url}/a/x.zip", "sha256": digest(CONTENT)}


def test_another_file_than_its_sha256_says_is_not_kept(served: Served, cache: Path) -> None:
    with pytest.raises(UserError, match="sha256"):
        local(f"{served.url}/a/x.zip#sha256={digest(b'other')}")
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    with pytest.raises(SettingsError, match=rf"{WHERE}: what follows #"):
        local(f"{served.url}/a/x.zip#md5=0")


def test_an_interrupted_fetch_is_gone_on_with(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "ATTEMPTS", 1)
    served.cut = 700_000
    with pytest.raises(UserError, match="bytes are kept"):
        local(f"{served.url}/a/x.zip")
    assert local(f"{served.url}/a/x.zip").read_bytes() == CONTENT
    assert served.asked[-1] == ("GET", "/a/x.zip", "bytes=700000-")


def test_a_file_that_changed_meanwhile_is_not_gone_on_with(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "ATTEMPTS", 1)
    for silent in (False, True):
        served.silent, served.cut = silent, 700_000
        with pytest.raises(UserError, match="could not be fetched"):
            local(f"{served.url}/a/x.zip")
        served.files["/a/x.zip"] = bytes([silent]) * len(CONTENT)
        assert local(f"{served.url}/a/x.zip").read_bytes() == bytes([silent]) * len(CONTENT)


def test_a_server_without_head(served: Served) -> None:
    served.no_head = True
    assert local(f"{served.url}/a/x.zip").read_bytes() == CONTENT


def test_what_is_not_there_and_who_is_not_there(served: Served) -> None:
    with pytest.raises(UserError, match=rf"{WHERE}: {served.url}/nothing: the server answers 404"):
        local(f"{served.url}/nothing")
    with pytest.raises(UserError, match=f"{WHERE}: .* does not answer"):
        local("http://127.0.0.1:1/x.zip")
    with pytest.raises(SettingsError, match="names no host"):
        local("http://:80/x")


def test_no_message_and_no_record_holds_a_login_or_a_signature(served: Served, cache: Path) -> None:
    host = served.url.removeprefix("http://")
    address = f"http://ann:passw0rd@{host}/a/x.zip?X-Amz-Signature=abcdef0123"
    local(address)
    (record,) = cache.glob("*/origin.json")
    for text in (record.read_text(), json.dumps(fetched.account(address, WHERE)), str(local(address))):
        assert "passw0rd" not in text
        assert "abcdef0123" not in text


def test_a_file_that_is_too_large_is_not_fetched(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.limits.SOURCE_BYTES", len(CONTENT) - 1)
    with pytest.raises(UserError, match="at most"):
        local(f"{served.url}/a/x.zip")
    assert served.fetched == []


@pytest.mark.parametrize("name", ["/a/..", "/a/%2e%2e", "/a/%2Fetc%2Fpasswd", "/", "/a/%00%0a.zip", f"/{'x' * 300}"])
def test_no_name_leads_out_of_the_cache(name: str, served: Served, cache: Path) -> None:
    served.files[name] = b"x"
    path = local(f"{served.url}{name}")
    assert path.resolve().is_relative_to(cache.resolve())
    assert path.read_bytes() == b"x"
    assert path.parent.name == "data"


# --- objects ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Generator[str]:
    objects = pytest.importorskip("objects")
    with objects.s3() as uri:
        yield uri


def below(uri: str, name: str) -> str:
    head, mark, options = uri.partition("?")
    return f"{head}/{name}{mark}{options}"


def put(uri: str, name: str, data: bytes) -> None:
    system, root = filesystems.opened(uri)
    with system.open_output_stream(f"{root}/{name}") as file:
        file.write(data)


@pytest.mark.slow
def test_an_object(bucket: str) -> None:
    put(bucket, "one/x.zip", CONTENT)
    address = below(bucket, "one/x.zip")
    path = local(address)
    assert (path.name, path.read_bytes()) == ("x.zip", CONTENT)
    before = path.stat().st_ino
    assert local(address).stat().st_ino == before
    put(bucket, "one/x.zip", b"other")
    assert local(address).read_bytes() == b"other"
    with pytest.raises(UserError, match="sha256"):
        local(f"{address}#sha256={digest(CONTENT)}")
    assert local(f"{address}#sha256={digest(b'other')}").read_bytes() == b"other"


@pytest.mark.slow
def test_a_prefix_is_a_folder(bucket: str) -> None:
    for name in ("a/0.png", "a/deep/1.png", "b/2.png"):
        put(bucket, f"flowers/{name}", name.encode())
    address = below(bucket, "flowers")
    root = local(address)
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in found.items()} == {name: name for name in found}
    assert sorted(found) == ["a/0.png", "a/deep/1.png", "b/2.png"]
    kept = found["a/0.png"].stat().st_ino
    account = fetched.account(address, WHERE)
    put(bucket, "flowers/b/2.png", b"longer than before")
    system, path = filesystems.opened(below(bucket, "flowers/a/deep/1.png"))
    system.delete_file(path)
    assert fetched.account(address, WHERE) != account
    root = local(address)
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == ["a/0.png", "b/2.png"]
    assert (root / "b/2.png").read_text() == "longer than before"
    assert (root / "a/0.png").stat().st_ino == kept


@pytest.mark.slow
def test_nothing_and_odd_names(bucket: str) -> None:
    with pytest.raises(SettingsError, match=f"{WHERE}: there is nothing at"):
        local(below(bucket, "nowhere"))
    with pytest.raises(SettingsError, match="a sha256 is that of a file"):
        put(bucket, "folder/x", b"x")
        local(f"{below(bucket, 'folder')}#sha256={digest(b'x')}")
    with pytest.raises(SettingsError, match=f"{WHERE}: has the option"):
        local("s3://bucket/x?token=1")
    with pytest.raises(SettingsError, match=f"{WHERE}: holds a user's name"):
        local("s3://key:secret@bucket/x")


@pytest.mark.slow
def test_objects_whose_names_lead_out(bucket: str) -> None:
    import boto3

    system, root = filesystems.opened(bucket)
    assert isinstance(system, fs.S3FileSystem)
    name, _, prefix = root.partition("/")
    endpoint = bucket.partition("endpoint_override=")[2].replace("%3A", ":")
    client = boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1")
    client.put_object(Bucket=name, Key=f"{prefix}/odd/../../up.png", Body=b"x")
    with pytest.raises((UserError, SettingsError)):
        local(below(bucket, "odd"))
