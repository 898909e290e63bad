"""What metrics share besides their contract."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.contract.metric import Side

Floats = NDArray[np.float64]


def fewer(used: int, side: Side, what: str) -> tuple[str, ...]:
    """A warning where only `used` of a side were looked at."""
    return () if used >= len(side) else (f"{used:,} of {len(side):,} {what}, chosen by the seed",)
