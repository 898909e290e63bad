from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.contract.moments import Moments
from pipeline.errors import BrokenArtefact
from pipeline.formats.statistics import Seen, load_seen, save_seen

ROWS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def test_what_was_seen_comes_back_exactly(tmp_path: Path) -> None:
    kept = np.array([1, 4, 9])
    save_seen(tmp_path / "key", Seen(Moments.of(ROWS), ROWS[kept], kept, np.arange(20)))
    found = load_seen(tmp_path / "key")
    assert found.moments.count == 20
    assert np.array_equal(found.moments.outer, Moments.of(ROWS).outer)
    assert found.features is not None
    assert np.array_equal(found.features, ROWS[kept])
    assert found.kept is not None
    assert found.labels is not None
    save_seen(tmp_path / "bare", Seen(Moments.of(ROWS), None, None, None))
    bare = load_seen(tmp_path / "bare")
    assert (bare.features, bare.kept, bare.labels) == (None, None, None)


def test_torn_statistics_are_noticed(tmp_path: Path) -> None:
    save_seen(tmp_path, Seen(Moments.of(ROWS), ROWS, None, None))
    (tmp_path / "features.npy").write_bytes(b"")
    with pytest.raises(BrokenArtefact, match=r"features\.npy has sha256"):
        load_seen(tmp_path)
    (tmp_path / "statistics.json").write_text("[]")
    with pytest.raises(BrokenArtefact, match="no statistics of format"):
        load_seen(tmp_path)
