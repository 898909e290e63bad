"""What metrics of pairs share: planes to compare, shaved borders, and a score beside that of the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract.metric import PairBlock, Pairs, Score, Statistics
from pipeline.errors import UserError
from pipeline.settings import Settings

Planes = NDArray[np.float64]
"""(n, C, H, W), 0 to 255."""

Similarity = Callable[[Planes, Planes], NDArray[np.float64]]
"""Two sets of planes → a number for each pair (n,)."""


class PairSettings(Settings):
    """How super-resolution is reported: luminance, and as many pixels shaved off as images were enlarged times."""

    luminance: bool = Field(default=False, description="compare the Y of ITU-R BT.601 (16 to 235) of coloured images")
    shave: int = Field(default=0, ge=0, le=64, description="pixels left out at every border")
    limit: int = Field(default=1024, ge=1, description="pairs at most, the first of the holdout")


def scores(name: str, statistics: Statistics, config: PairSettings, similarity: Similarity) -> list[Score]:
    """The mean over pairs of a similarity of sample and truth, and of input and truth where the two can be compared.

    The spread is the deviation over pairs.

    Raises:
        UserError: where there are no pairs.
    """
    if statistics.pairs is None:
        raise UserError(f"{name} was asked of samples without truths")
    name = f"{name}_y" if config.luminance else name
    made, given = _each(statistics.pairs, config, similarity)
    settings = config.model_dump(mode="json")

    def score(key: str, values: NDArray[np.float64], what: str) -> Score:
        told = f"{what} against its truth, of the holdout; the mean over pairs"
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        return Score(
            key, float(values.mean()), len(values), len(values), "holdout", told, spread, settings=settings, each=values
        )

    what = "each reconstruction" if statistics.pairs.reconstructed else "each sample"
    found = [score(name, made, what)] if len(made) else []
    return [*found, score(f"{name}_of_input", given, statistics.pairs.baseline)] if len(given) else found


def _each(
    pairs: Pairs, config: PairSettings, similarity: Similarity
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The similarities of samples and of inputs with their truths, in order."""
    made: list[NDArray[np.float64]] = []
    given: list[NDArray[np.float64]] = []
    for block in pairs.blocks(min(config.limit, pairs.count)):
        truth = planes(block.truth, config)
        made.append(similarity(planes(block.made, config), truth))
        if block.given is not None:
            given.append(similarity(planes(_channelled(block), config), truth))
    empty = np.empty(0)
    return np.concatenate([empty, *made]), np.concatenate([empty, *given])


def _channelled(block: PairBlock) -> NDArray[np.uint8]:
    """The input with the truth's channels: grey in each of them."""
    assert block.given is not None  # asked for where it is there
    channels = block.truth.shape[1]
    return block.given if block.given.shape[1] == channels else block.given[:, :1].repeat(channels, axis=1)


def planes(x: NDArray[np.uint8], config: PairSettings) -> Planes:
    """uint8 (n, C, H, W) → what is compared, without its border.

    Raises:
        UserError: where nothing is left within the border.
    """
    found = luminance(x) if config.luminance and x.shape[1] >= 3 else x.astype(np.float64)
    margin = config.shave
    if min(found.shape[2:]) <= 2 * margin:
        raise UserError(f"shave: {margin} pixels at every border leave nothing of images of {x.shape[2]}×{x.shape[3]}")
    return found[:, :, margin : found.shape[2] - margin, margin : found.shape[3] - margin]


def luminance(x: NDArray[np.uint8]) -> Planes:
    """RGB (n, 3 or 4, H, W) → Y (n, 1, H, W), 16 to 235, not rounded: ITU-R BT.601, as the literature reports."""
    weights: Sequence[float] = (65.481, 128.553, 24.966)
    total = sum(weight * x[:, channel].astype(np.float64) for channel, weight in enumerate(weights))
    return 16 + np.asarray(total)[:, None] / 255
