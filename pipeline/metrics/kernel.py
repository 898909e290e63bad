"""The kernel distance: unbiased squared MMD under a cubic kernel (Bińkowski et al. 2018, KID)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contract import metric as contract
from pipeline.contract.metric import Score, Statistics
from pipeline.errors import UserError
from pipeline.metrics._shared import Floats, fewer
from pipeline.randomness import choose
from pipeline.score_names import reported_name
from pipeline.settings import Settings

# More subsets than show every row about so often tell nothing new.
VISITS = 5


class Config(Settings):
    """The paper's kernel and subsets; a subset never exceeds what there is."""

    degree: int = Field(default=3, ge=1)
    gamma: float | None = Field(default=None, gt=0, description="factor of the inner product; null = 1/dimension")
    constant: float = Field(default=1.0, ge=0)
    subsets: int = Field(default=50, ge=1, description="seeded subsets averaged over, at most")
    subset_size: int = Field(default=1000, ge=2, description="examples of either side in a subset")
    limit: int = Field(
        default=50_000, ge=8, description="maximum number of rows kept per side, from which subsets are drawn"
    )


class Metric(contract.Metric[Config]):
    """The mean over subsets; unbiased, so near zero it may be negative. Spread: the deviation between subsets."""

    needs = frozenset({"features"})
    aliases = ("kid",)

    def compute(self, statistics: Statistics) -> list[Score]:
        real = statistics.real.some(self.config.limit, 0, "kernel/reals")
        fake = statistics.fake.some(self.config.limit, statistics.seed, "kernel/fakes")
        if min(len(real), len(fake)) < 2:
            raise UserError(f"the kernel distance needs at least 2 on either side: {len(real)} and {len(fake)}")
        values = kernel_distances(real, fake, self.config, seed=statistics.seed)
        size = min(self.config.subset_size, len(real), len(fake))
        note = f"unbiased; {'mean of ' if len(values) > 1 else ''}{len(values)} subset{'s' if len(values) > 1 else ''}"
        return [
            Score(
                reported_name("kernel", statistics.extractor),
                float(values.mean()),
                len(real),
                len(fake),
                statistics.split,
                f"{note} of {size}",
                spread=float(values.std()) if len(values) > 1 else None,
                warnings=fewer(len(real), statistics.real, "reals") + fewer(len(fake), statistics.fake, "samples"),
                settings={**self.config.model_dump(mode="json"), "subsets": len(values), "subset_size": size},
            )
        ]


def kernel_distances(real: NDArray[Any], fake: NDArray[Any], config: Config, seed: int) -> Floats:
    """One unbiased estimate for each subset, (subsets,); all of both sides, once, where they fit into one subset.

    Raises:
        ValueError: unless either side has two rows.
    """
    size = min(config.subset_size, len(real), len(fake))
    if size < 2:
        raise ValueError(f"the kernel distance needs at least 2 on either side: {len(real)} and {len(fake)}")
    if size == len(real) == len(fake):
        return np.array([unbiased(real, fake, config)])
    values = [
        unbiased(
            real[choose(len(real), size, seed, "kernel/real", subset)],
            fake[choose(len(fake), size, seed, "kernel/fake", subset)],
            config,
        )
        for subset in range(min(config.subsets, VISITS * -(-max(len(real), len(fake)) // size)))
    ]
    return np.array(values)


def unbiased(real: NDArray[Any], fake: NDArray[Any], config: Config) -> float:
    """MMD²ᵤ of k(x, y) = (γ xᵀy + c)^degree: the means leave out each row with itself."""
    x, y = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    gamma = config.gamma or 1.0 / x.shape[1]

    def kernel(a: Floats, b: Floats) -> Floats:
        base = gamma * (a @ b.T) + config.constant
        power = base.copy()
        for _ in range(config.degree - 1):
            power *= base
        return power

    def within(rows: Floats) -> float:
        table = kernel(rows, rows)
        return float((table.sum() - np.trace(table)) / (len(rows) * (len(rows) - 1)))

    return within(x) + within(y) - 2.0 * float(kernel(x, y).mean())
