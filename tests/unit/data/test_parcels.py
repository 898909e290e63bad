"""A source's items in parcels: what travels, what comes back, and what need not go again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data import packing, parcels
from pipeline.data.settings import IngestSettings
from pipeline.data.source import DataSource, Entry, Limits
from pipeline.errors import BrokenArtefact, Rejected, UserError
from pipeline.storage.store import Store

PLAIN = st.recursive(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)


@pytest.fixture
def settings(tmp_path: Path) -> IngestSettings:
    """60 pictures of noise, which no compression makes smaller, and one file that is none."""
    chance = np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / "pictures" / f"class-{number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
    (tmp_path / "pictures/class-0/broken.png").write_text("no picture")
    folder = str(tmp_path / "pictures")
    return IngestSettings(source={"name": "image_folder", "folder": folder}, max_rejected_fraction=0.2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parcels of a few pictures."""
    for name, value in (("LEAST", 1000), ("MOST", 5000), ("ENDS", 4)):
        monkeypatch.setattr(parcels, name, value)


def sent(settings: IngestSettings, store: Store) -> str:
    return parcels.send(packing.open_source(settings), settings, store, lambda *_: None)


def blobs(store: Store) -> set[str]:
    return set(store.names("blobs"))


def arrived(settings: IngestSettings, store: Store, listing: str, folder: Path) -> DataSource[Any]:
    parcels.receive(store, listing, folder)
    return parcels.Parcelled(packing.open_source(settings), str(folder))


@given(PLAIN)
def test_what_is_stored_comes_back_as_it_was(value: Any) -> None:
    assert parcels._unpacked(parcels._packed(value)) == value


def test_arrays_and_reasons_come_back_as_they_were() -> None:
    for dtype in ("uint8", "float32", ">i2"):
        values = np.arange(12).reshape(3, 4).astype(dtype)
        back = parcels._unpacked(parcels._packed((values, 1)))[0]
        assert back.dtype == values.dtype
        assert np.array_equal(back, values)
    back = parcels._unpacked(parcels._packed(Rejected("too many bytes", "70, allowed are 64")))
    assert (back.reason, back.detail) == ("too many bytes", "70, allowed are 64")


def test_what_is_no_plain_value_is_refused() -> None:
    with pytest.raises(TypeError, match="plain values and arrays, not a set"):
        parcels._packed({1})


def test_names_that_are_no_text_travel(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (4, 4)).save(folder / "x.png")
    try:
        (folder / "x.png").rename(folder / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system takes no such name")
    settings = IngestSettings(source={"name": "image_folder", "folder": str(folder)})
    store = Store(str(tmp_path / "store"))
    source = arrived(settings, store, sent(settings, store), tmp_path / "arrived")
    (entry,) = source.entries()
    assert (entry.key, entry.where) == ("\\xff.png", "\udcff.png")
    assert source.read(entry, Limits()).shape == (4, 4, 1)


@pytest.mark.usefixtures("small")
def test_many_parcels_give_the_same_shards(settings: IngestSettings, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    told: list[tuple[int, int]] = []
    listing = parcels.send(packing.open_source(settings), settings, store, lambda *pair: told.append(pair))
    assert len(blobs(store)) > 6
    assert len(told) == len(blobs(store)) - 1, "one for each parcel; the listing is a blob too"
    assert told == sorted(told)
    assert told[-1] == (61, 61)
    source = arrived(settings, store, listing, tmp_path / "arrived")
    here, afar = (
        packing.ingest(settings, tmp_path / out, source=each) for out, each in (("here", None), ("afar", source))
    )
    assert here == afar
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert "rejects.csv" in names
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "afar" / name).read_bytes()


@pytest.mark.usefixtures("small")
def test_what_has_not_changed_is_not_sent_again(settings: IngestSettings, tmp_path: Path) -> None:
    store, folder = Store(str(tmp_path / "store")), tmp_path / "pictures"
    first = sent(settings, store)
    before = blobs(store)
    assert sent(settings, store) == first
    assert blobs(store) == before
    Image.new("L", (16, 16), 7).save(folder / "class-0/000.png")  # the first of all
    assert sent(settings, store) != first
    after = blobs(store) - before
    assert 2 <= len(after) <= 4, "the parcels up to where the next one ended before, and the listing"
    (folder / "class-0/000.png").unlink()
    assert sent(settings, store) == first


@pytest.mark.usefixtures("small")
def test_no_more_is_sent_than_the_limit_uses(settings: IngestSettings, tmp_path: Path) -> None:
    store, limited = Store(str(tmp_path / "store")), settings.model_copy(update={"limit": 6})
    source = arrived(limited, store, sent(limited, store), tmp_path / "arrived")
    assert len(source.entries()) == 6
    size = sum((tmp_path / "store/blobs" / name).stat().st_size for name in blobs(store))
    assert size < 6 * 600
    packing.ingest(limited, tmp_path / "here")
    packing.ingest(limited, tmp_path / "afar", source=source)
    assert (tmp_path / "here/manifest.json").read_bytes() == (tmp_path / "afar/manifest.json").read_bytes()


def test_items_that_look_alike_are_not_one(settings: IngestSettings, tmp_path: Path) -> None:
    """Of three files of one name in an archive, two are rejected, with equal entries."""
    store, source = Store(str(tmp_path / "store")), packing.open_source(settings)
    alike = [*source.entries(), *(Entry("x.png", "x.png", problem=("a second member of this name", "")),) * 2]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(source), "entries", lambda _: alike)
        listing = sent(settings, store)
    assert arrived(settings, store, listing, tmp_path / "arrived").entries() == alike


def test_another_content_than_was_sent_is_refused(settings: IngestSettings, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    listing = sent(settings, store)
    (parcel,) = blobs(store) - {listing}
    path = tmp_path / "store/blobs" / parcel
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BrokenArtefact, match="remove it there and push again"):
        parcels.receive(store, listing, tmp_path / "arrived")
    path.unlink()
    with pytest.raises(UserError, match="does not answer for blobs/"):
        parcels.receive(store, listing, tmp_path / "another")
