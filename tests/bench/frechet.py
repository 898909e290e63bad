"""`make bench`: the Fréchet distance from moments at 2048-d, ours against `scipy.linalg.sqrtm`, as a ratio.

Real pool3 features where the test data are, so that the covariances are the sort that is met;
else correlated draws of as many rows. One BLAS thread for both; the ratio is the median of
interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from pipeline.contract.moments import Moments
from pipeline.metrics import frechet
from pipeline.threads import one_blas_thread

DATA = Path(os.environ.get("ZEROSUM_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
POOL3 = DATA / "flowers-inception-pool3-f16.npz"
DIMENSION = 2048


def pair(rank: str) -> tuple[str, Moments, Moments]:
    """Two sets' moments: `full` rank, or `deficient` (fewer rows than dimensions in the first)."""
    if POOL3.is_file():
        with np.load(POOL3, allow_pickle=False) as found:
            rows = found["features"].astype(np.float64)
        what = "real pool3 features"
    else:
        draw = np.random.default_rng(0)
        rows = draw.normal(size=(3670, DIMENSION)) @ draw.normal(size=(DIMENSION, DIMENSION)) / DIMENSION
        what = "correlated draws"
    first = rows[:2600] if rank == "full" else rows[:1531]
    return what, Moments.of(first), Moments.of(rows[-2600:])


def by_root(a: Moments, b: Moments) -> float:
    """The formula as pytorch-fid has it."""
    gap: NDArray[np.float64] = a.mean - b.mean
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    return float(gap @ gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(np.real(root)))


def timed(rounds: int, rank: str) -> dict[str, float | str]:
    """Seconds of either, their ratio, and how far the values are apart."""
    what, a, b = pair(rank)
    runs = {"ours": frechet.distance, "sqrtm": by_root}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    values: dict[str, float] = {}
    for number in range(rounds):
        for name in sorted(runs, reverse=bool(number % 2)):
            begin = time.perf_counter()
            values[name] = runs[name](a, b)
            seconds[name].append(time.perf_counter() - begin)
    ratio = statistics.median(s / o for s, o in zip(seconds["sqrtm"], seconds["ours"], strict=True))
    medians = {f"{name}_seconds": statistics.median(taken) for name, taken in seconds.items()}
    apart = abs(values["ours"] / values["sqrtm"] - 1)
    return {"data": what, "rank": rank, **medians, "ratio": ratio, "relative_difference": apart}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with one_blas_thread():
        found = [timed(arguments.rounds, rank) for rank in ("full", "deficient")]
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"the Fréchet distance from moments, {DIMENSION}-d, one thread, {found[0]['data']}")
    for row in found:
        print(
            f"  rank {row['rank']:<10} sqrtm {row['sqrtm_seconds']:.2f} s, ours {row['ours_seconds']:.2f} s: "
            f"{row['ratio']:.1f} × (floor: 5); values differ by {row['relative_difference']:.1e}"
        )


if __name__ == "__main__":
    main()
