from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.scoring.precomputed import read_statistics, read_table
from pipeline.storage.files import sha256_file

MU, SIGMA = np.zeros(3), np.diag([1.0, 2.0, 3.0])


def test_statistics_carry_their_source(tmp_path: Path) -> None:
    path = tmp_path / "cifar.npz"
    np.savez(path, mu=MU, sigma=SIGMA)
    found = read_statistics(path, "reference.statistics", 3)
    assert (found.source, found.sha256, found.count) == ("cifar.npz", sha256_file(path), None)
    assert np.array_equal(found.covariance, SIGMA)
    np.savez(path, mu=MU, sigma=SIGMA, n=50_000, source=np.array("https://example.org/stats"))
    found = read_statistics(path, "reference.statistics")
    assert (found.source, found.count) == ("https://example.org/stats", 50_000)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": MU}, "holds mu, and not mu and sigma"),
        ({"mu": MU, "sigma": np.eye(2)}, r"mu is \(3,\) and sigma \(2, 2\)"),
        (
            {"mu": np.zeros(2), "sigma": np.eye(2)},
            "has 2 dimensions and the extractor 3: they are of another extractor",
        ),
        ({"mu": MU * np.nan, "sigma": SIGMA}, "not finite"),
        ({"mu": MU, "sigma": np.triu(np.ones((3, 3)))}, "no covariance"),
        ({"mu": MU, "sigma": -SIGMA}, "no covariance"),
    ],
)
def test_what_are_no_statistics_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_statistics(tmp_path / "bad.npz", "--real", 3)


def test_files_that_are_none_are_refused_and_pickles_unread(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 nonsense")
    (tmp_path / "text.npy").write_text("1 2 3")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    for name in ("torn.npz", "text.npy", "objects.npy"):
        with pytest.raises(UserError, match="cannot be read as NumPy's"):
            read_table(tmp_path / name, "--real")
    with pytest.raises(UserError, match="there is no such file"):
        read_table(tmp_path / "absent.npy", "--real")
    np.savez(tmp_path / "mixed.npz", features=np.ones((2, 2)), names=np.array(["a", None], dtype=object))
    assert list(read_table(tmp_path / "mixed.npz", "--real")) == ["features"]
