"""Modes that honour the umask, and caches that nobody else can have written to."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.storage import files, private

NOBODY = 65534

WRITES = """
import os, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from pipeline.storage import files

os.umask(int(sys.argv[1], 8))
root = Path(sys.argv[2])
files.write_bytes(root / "plain", b"x")
with files.replacing(root / "weights") as temporary:
    save_file({"w": torch.zeros(1)}, temporary)
with files.replacing_folder(root / "folder") as temporary:
    (temporary / "inner").mkdir(0o777)
    (temporary / "inner").chmod(0o777)
    (temporary / "inner" / "file").touch(0o666)
os.environ["XDG_CACHE_HOME"] = str(root / "cache")
files.cache_folder()
files.own_cache("node")
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("ZEROSUM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "zerosum"


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
def test_nothing_is_wider_than_the_umask(mask: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ZEROSUM_CACHE"}
    subprocess.run([sys.executable, "-c", WRITES, oct(mask)[2:], str(tmp_path)], env=environment, check=True)
    for name in ("plain", "weights", "folder/inner/file"):
        assert mode(tmp_path / name) == 0o644 & ~mask, name
    for name in ("folder", "folder/inner"):
        assert mode(tmp_path / name) == 0o777 & ~mask, name
    for name in ("cache", "cache/zerosum", "cache/zerosum/node"):
        assert mode(tmp_path / name) == 0o700, name


def test_the_mask_is_read_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        assert private.umask() == 0o027
        monkeypatch.setattr(private, "STATUS", Path("/nowhere"))  # as on macOS
        assert private.umask() == 0o027
        assert private.umask() == 0o027
    finally:
        assert os.umask(before) == 0o027


def test_a_cache_that_everybody_can_write_to_is_not_read(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(UserError, match="chmod -R go-w") as refused:
        files.cache_folder()
    assert str(cache) in str(refused.value)
    cache.chmod(0o755)  # as older versions made it
    assert files.cache_folder() == cache


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a folder away")
def test_a_cache_of_another_user_is_not_read(cache: Path) -> None:
    cache.mkdir(0o700)
    os.chown(cache, NOBODY, NOBODY)
    with pytest.raises(UserError, match="nobody"):
        files.cache_folder()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a folder away")
def test_a_group_with_others_in_it_is_others(cache: Path) -> None:
    cache.mkdir()
    os.chown(cache, 0, NOBODY)
    cache.chmod(0o775)
    with pytest.raises(UserError, match="group"):
        files.cache_folder()


def test_a_cache_that_is_named_may_be_a_teams_but_for_what_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv("ZEROSUM_CACHE", str(shared))
    assert files.cache_folder() == shared
    assert mode(files.own_cache("jobs")) == 0o700
    for open_to_all in (0o777, 0o1777):
        (shared / "jobs").chmod(open_to_all)
        with pytest.raises(UserError, match="jobs"):
            files.own_cache("jobs")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder to others")
def test_each_of_a_team_has_a_part_of_its_own_in_a_cache_that_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROSUM_CACHE", str(tmp_path))
    (tmp_path / "jobs").mkdir(mode=0o700)
    os.chown(tmp_path / "jobs", NOBODY, NOBODY)
    mine = files.own_cache("jobs")
    assert (mine.name, mode(mine)) == ("jobs-0", 0o700)
    assert files.own_cache("jobs") == mine
    assert files.own_cache("node").name == "node"
    os.chown(mine, NOBODY, NOBODY)  # made before its owner came
    with pytest.raises(UserError, match="jobs-0 belongs to nobody"):
        files.own_cache("jobs")


def test_where_others_could_replace_something(tmp_path: Path) -> None:
    deep = tmp_path / "open" / "a" / "b"
    deep.mkdir(parents=True)
    assert private.intruded(deep) is None
    (tmp_path / "open").chmod(0o777)
    found = private.intruded(deep)
    assert found is not None
    assert found[0] == tmp_path / "open"
    (tmp_path / "open").chmod(0o1777)
    assert private.intruded(deep) is None, "as in /tmp, what is ours there stays ours"
