"""The modes of a numeric column: the variational Bayesian Gaussian mixture of CTGAN (Xu et al. 2019, section 4.2)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.randomness import choose
from pipeline.types import Column, Mode

FITTED = 100_000
"""Values that a mixture is fitted to, at most: a seeded choice of more."""

CONCENTRATION, LEAST = 1e-3, 5e-3
"""Of the Dirichlet process; and the weight below which a component is dropped. Both are CTGAN's."""


def with_modes(column: Column, values: NDArray[np.float64], most: int) -> Column:
    """The column with the modes of its values (n,), at most `most` of them; equal values give equal modes.

    The density's factor of a mode is that of the mixture's posterior means, so that its responsibilities are those
    of scikit-learn's `predict_proba`.
    """
    scaled = (values - column.mean) / column.std
    distinct = len(np.unique(scaled))
    if distinct < 2:
        return replace(column, modes=(Mode(0.0, 1.0, 1.0),))
    if len(scaled) > FITTED:
        scaled = scaled[choose(len(scaled), FITTED, 0, f"modes/{column.name}")]
    return replace(column, modes=_fitted(scaled, min(most, distinct)))


def _fitted(values: NDArray[np.float64], components: int) -> tuple[Mode, ...]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import BayesianGaussianMixture
    from threadpoolctl import threadpool_limits

    mixture: Any = BayesianGaussianMixture(
        n_components=components,
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=CONCENTRATION,
        n_init=1,
        random_state=0,
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 rounds are enough for a scale, as in CTGAN
        mixture.fit(values[:, None])
    means, stds = mixture.means_[:, 0], np.sqrt(mixture.covariances_[:, 0, 0])
    kept = np.flatnonzero(mixture.weights_ > LEAST)
    weights = _factors(mixture)[kept]
    weights = weights / weights.sum()
    return tuple(
        Mode(float(means[k]), float(stds[k]), float(weight)) for k, weight in zip(kept.tolist(), weights, strict=True)
    )


def _factors(mixture: Any) -> NDArray[np.float64]:
    """exp(E[log π] + (E[log |Λ|] − log |Λ̂| − 1/β) / 2) of each component (Bishop 2006, equations 10.64–10.67)."""
    from scipy.special import digamma

    first, second = mixture.weight_concentration_
    both = digamma(first + second)
    log_weight = digamma(first) - both
    log_weight += np.concatenate([[0.0], np.cumsum(digamma(second) - both)[:-1]])
    freedom = mixture.degrees_of_freedom_
    log_precision = np.log(2.0) + digamma(freedom / 2) - np.log(freedom)
    found = log_weight + 0.5 * (log_precision - 1.0 / mixture.mean_precision_)
    return np.exp(found - found.max())
