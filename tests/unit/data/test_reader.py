from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.data import cache as caching
from pipeline.data.batches import Batches, Reader
from pipeline.data.packing import ingest
from pipeline.data.settings import IngestSettings
from pipeline.errors import BrokenArtefact, UserError
from pipeline.types import FieldSpec

BIG = 10**9
IMAGE = FieldSpec.usual("x", "image", (1,))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    ingest(IngestSettings(resolution=16, limit=300, shard_examples=50), folder)
    return folder


@pytest.fixture(scope="module")
def readers(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Reader]:
    """The same examples from the shards and from the cache."""
    return Reader(digits, "train"), Reader(digits, "train", cache=tmp_path_factory.mktemp("cache"), cache_budget=BIG)


def test_shards_and_cache_give_the_same_examples(readers: tuple[Reader, Reader]) -> None:
    streamed, cached = readers
    assert (streamed.cached, cached.cached) == (False, True)
    assert len(streamed) == len(cached) == 240
    for indices in (np.arange(240), np.array([239, 0, 0, 17]), np.empty(0, dtype=np.int64)):
        a, b = streamed.examples(indices), cached.examples(indices)
        assert a["x"].dtype == np.uint8
        assert a["label"].dtype == np.int64
        assert a["x"].shape == (len(indices), 1, 16, 16)
        assert np.array_equal(a["x"], b["x"])
        assert np.array_equal(a["label"], b["label"])


def test_what_a_reader_gives_can_be_written_to(readers: tuple[Reader, Reader]) -> None:
    for reader in readers:
        first = reader.examples(np.arange(3))
        kept = first["x"].copy()
        first["x"][:] = 0
        first["label"][:] = 99
        assert np.array_equal(reader.examples(np.arange(3))["x"], kept)
        assert reader.examples(np.arange(3))["label"].max() < 10


def test_the_budget_decides(digits: Path, tmp_path: Path) -> None:
    size = 240 * 256
    assert not Reader(digits, "train", cache=tmp_path / "a", cache_budget=size - 1).cached
    assert not (tmp_path / "a").exists()
    assert Reader(digits, "train", cache=tmp_path / "a", cache_budget=size).cached
    assert not Reader(digits, "train", cache=None, cache_budget=size).cached


def built(cache: Path) -> Path:
    return next(cache.glob("*-train")) / caching.DATA


@pytest.mark.parametrize("damage", ["flipped", "truncated", "lengthened", "card gone", "card torn", "data gone"])
def test_a_broken_cache_is_built_anew(digits: Path, tmp_path: Path, damage: str) -> None:
    expected = Reader(digits, "train", cache=tmp_path, cache_budget=BIG).examples(np.arange(240))["x"]
    data = built(tmp_path)
    content = bytearray(data.read_bytes())
    card = data.with_name(caching.CARD)
    if damage == "flipped":
        content[1000] ^= 1
        data.write_bytes(content)
    elif damage == "truncated":
        data.write_bytes(content[:-1])
    elif damage == "lengthened":
        data.write_bytes(content + b"\0")
    elif damage == "card gone":
        card.unlink()
    elif damage == "card torn":
        card.write_bytes(card.read_bytes()[:20])
    else:
        data.unlink()
    (data.parent / f".{caching.DATA}.0a0a0a0a.tmp").write_bytes(b"left by a killed builder")
    again = Reader(digits, "train", cache=tmp_path, cache_budget=BIG).examples(np.arange(240))["x"]
    assert np.array_equal(again, expected)
    assert sorted(path.name for path in data.parent.iterdir()) == [caching.DATA, caching.CARD, caching.LOCK]


def test_a_sound_cache_is_left_alone(digits: Path, tmp_path: Path) -> None:
    Reader(digits, "train", cache=tmp_path, cache_budget=BIG)
    before = built(tmp_path).stat().st_mtime_ns
    Reader(digits, "train", cache=tmp_path, cache_budget=BIG)
    assert built(tmp_path).stat().st_mtime_ns == before


def test_caches_of_other_data_do_not_meet(digits: Path, tmp_path: Path) -> None:
    ingest(IngestSettings(resolution=16, limit=200), tmp_path / "other")
    Reader(digits, "train", cache=tmp_path / "cache", cache_budget=BIG)
    Reader(digits, "holdout", cache=tmp_path / "cache", cache_budget=BIG)
    Reader(tmp_path / "other", "train", cache=tmp_path / "cache", cache_budget=BIG)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_cache_that_cannot_be_written_says_so(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"decoded data cannot be kept in .* lower the cache budget"):
        Reader(digits, "train", cache=tmp_path / "file", cache_budget=BIG)


def _open(folder: Path, cache: Path, start: Any, answers: Any) -> None:
    start.wait()
    answers.put(int(Reader(folder, "train", cache=cache, cache_budget=BIG).examples(np.arange(240))["x"].sum()))


@pytest.mark.slow
def test_processes_share_one_cache(digits: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Event(), context.Queue()
    processes = [context.Process(target=_open, args=(digits, tmp_path, start, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    sums = {answers.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert sums == {int(Reader(digits, "train").examples(np.arange(240))["x"].sum())}
    assert len(list(tmp_path.iterdir())) == 1


# --- damaged shards -------------------------------------------------------------------------------


@pytest.fixture
def copied(digits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits, tmp_path / "copied"))


def test_a_missing_shard_is_noticed(copied: Path) -> None:
    (copied / "train-000002.tar").unlink()
    with pytest.raises(BrokenArtefact, match=r"train-000002\.tar is missing; the ingest stage makes it"):
        Reader(copied, "train")
    Reader(copied, "holdout")


def test_a_truncated_shard_is_noticed_even_at_a_member_boundary(copied: Path) -> None:
    path = copied / "train-000001.tar"
    path.write_bytes(path.read_bytes()[: 512 * 8])
    with pytest.raises(BrokenArtefact, match="has 4096 bytes, its manifest says"):
        Reader(copied, "train")


def test_an_altered_shard_is_noticed_when_the_cache_is_built(copied: Path, tmp_path: Path) -> None:
    path = copied / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 255
    path.write_bytes(data)
    with pytest.raises(BrokenArtefact, match="its manifest says"):
        Reader(copied, "train", cache=tmp_path / "cache", cache_budget=BIG)


def test_a_damaged_member_is_noticed_when_it_is_read(copied: Path) -> None:
    path = copied / "train-000000.tar"
    data = bytearray(path.read_bytes())
    data[512:600] = bytes(88)
    path.write_bytes(data)
    reader = Reader(copied, "train")
    assert reader.examples(np.arange(1, 50))["x"].any()
    with pytest.raises(BrokenArtefact, match=r"train-000000\.tar at byte 512 cannot be decoded"):
        reader.examples(np.arange(2))


def test_more_shards_than_files_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(IngestSettings(limit=100, shard_examples=5), tmp_path)
    expected = Reader(tmp_path, "train").examples(np.arange(80))["x"]
    monkeypatch.setattr("pipeline.data.shard_files.OPEN_SHARDS", 3)
    reader = Reader(tmp_path, "train")
    order = np.random.default_rng(0).permutation(80)
    assert np.array_equal(reader.examples(order)["x"], expected[order])
    assert len(vars(vars(reader)["_files"])["_open"]) == 3


# --- batches --------------------------------------------------------------------------------------


def test_floats_are_in_minus_one_to_one() -> None:
    x = IMAGE.tensor(np.array([0, 51, 255], dtype=np.uint8))
    assert x.dtype == torch.float32
    assert torch.allclose(x, torch.tensor([-1.0, -0.6, 1.0]), atol=1e-7)
    assert (x[0], x[2]) == (-1, 1)
    every = IMAGE.tensor(np.arange(256, dtype=np.uint8))
    assert torch.equal(((every + 1) * 127.5).round().to(torch.uint8), torch.arange(256, dtype=torch.uint8))


def drawn_from(batches: Batches, position: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """`x` and `label` of a batch of labelled data."""
    batch = batches.batch(position, start, stop)
    assert sorted(batch) == ["label", "x"]
    return batch.get("x", torch.empty(0)), batch.get("label", torch.empty(0))


def test_a_batch_is_the_order_applied_to_the_examples(readers: tuple[Reader, Reader]) -> None:
    for reader in readers:
        batches = Batches(reader, seed=5)
        expected = reader.examples(batches.ordering.take(230, 64)[8:24])
        x, label = drawn_from(batches, 230, 8, 24)  # crosses from one epoch to the next
        assert torch.equal(x, IMAGE.tensor(expected["x"]))
        assert label.tolist() == expected["label"].tolist()


def test_an_epoch_shows_every_example_once(readers: tuple[Reader, Reader]) -> None:
    batches = Batches(readers[1], seed=1)
    seen = torch.cat([drawn_from(batches, position, 0, 48)[1] for position in range(240, 480, 48)])
    assert torch.equal(seen.bincount(), torch.from_numpy(readers[1].labels.copy()).bincount())  # pyright: ignore


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 1000), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.booleans(), st.integers(0, 1)
)
def test_no_cut_changes_a_batch(
    readers: tuple[Reader, Reader], step: int, ranks: int, lanes: int, flip: bool, which: int
) -> None:
    x, label = drawn_from(Batches(readers[0], seed=3, flip=flip), step * 16, 0, 16)
    size = 16 // max(ranks, lanes)
    parts = [
        drawn_from(Batches(readers[which], seed=3, flip=flip), step * 16, start, start + size)
        for start in range(0, 16, size)
    ]
    assert torch.equal(torch.cat([part[0] for part in parts]), x)
    assert torch.equal(torch.cat([part[1] for part in parts]), label)


def test_half_are_mirrored_and_drawn_anew_each_epoch(readers: tuple[Reader, Reader]) -> None:
    plain, flipped = Batches(readers[1], 0), Batches(readers[1], 0, flip=True)
    drawn: list[list[bool]] = []
    for epoch in range(8):
        (a, _), (b, _) = drawn_from(plain, 240 * epoch, 0, 240), drawn_from(flipped, 240 * epoch, 0, 240)
        mirrored = [torch.equal(y, x.flip(-1)) for x, y in zip(a, b, strict=True)]
        assert all(was or torch.equal(y, x) for was, x, y in zip(mirrored, a, b, strict=True))
        drawn.append(mirrored)
    share = float(np.mean(drawn))
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(240 * 8)
    assert len({tuple(mirrored) for mirrored in drawn}) == 8


def test_unlabelled_data_gives_no_label(tmp_path: Path, folder_of: Callable[..., Path]) -> None:
    source = {"name": "image_folder", "folder": str(folder_of(x=5)), "labels": "none"}
    ingest(IngestSettings(source=source), tmp_path / "out")
    reader = Reader(tmp_path / "out", "train")
    assert reader.labels is None
    assert list(Batches(reader, 0).batch(0, 0, 2)) == ["x"]


def test_an_empty_split_has_no_batches(tmp_path: Path) -> None:
    ingest(IngestSettings(limit=20, holdout_fraction=0.0, empty_classes="drop"), tmp_path)
    for cache in (None, tmp_path / "cache"):
        reader = Reader(tmp_path, "holdout", cache=cache, cache_budget=BIG)
        assert reader.examples(np.empty(0, dtype=np.int64))["x"].shape == (0, 1, 8, 8)
        with pytest.raises(UserError, match="the split 'holdout' holds no examples"):
            Batches(reader, 0)
    with pytest.raises(BrokenArtefact, match="no split 'test'"):
        Reader(tmp_path, "test")


def test_a_small_batch_takes_no_time(readers: tuple[Reader, Reader]) -> None:
    batches = Batches(readers[1], 0, flip=True)
    taken: list[float] = []
    for step in range(200):
        start = time.perf_counter()
        batches.batch(step * 64, 0, 64)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.3e-3
