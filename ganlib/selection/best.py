"""The probability that a variant is the best, from a model that expects differences of unknown size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.selection.spread import Spread

DRAWS = 8000
SIZES = 24  # of differences between variants that are weighed
SMALLEST, LARGEST = 0.03, 100.0  # size of these differences, relative to the spread between seeds


def probabilities_of_best(means: NDArray[np.float64], spread: Spread, *, draws: int = DRAWS) -> NDArray[np.float64]:
    """Returns the probability that each variant has the lowest long-run mean [K].

    If nothing was expected of the variants, the first of several would look better than it is: among many, one is
    lucky. So the variants' true means are taken to have a spread of their own. Its size is unknown, a half-Cauchy prior
    beside the spread between seeds, and the scores themselves say how large it is: where they differ no more than
    seeds do, it is small, and no variant is sure to be the best. The result is the mean over draws from the posterior,
    with a fixed seed, so that equal scores give equal probabilities.

    Args:
        means: Mean losses [K].
        spread: Spread between seeds.
        draws: Number of draws; the error of a probability is at most half a percent with 8,000.
    """
    random, count = np.random.default_rng(0), len(means)
    variances = spread.variances * spread.degrees / random.chisquare(spread.degrees, (draws, count)) / spread.counts
    sizes = spread.pooled * np.geomspace(SMALLEST, LARGEST, SIZES)
    centre, weight, prior = _centres(means, variances, sizes, spread.pooled)
    cumulative = prior.cumsum(axis=1)
    chosen = (cumulative < random.random((draws, 1)) * cumulative[:, -1:]).sum(axis=1)
    rows = np.arange(draws)
    centres = centre[rows, chosen] + random.standard_normal(draws) / np.sqrt(weight[rows, chosen])
    own, common = 1.0 / variances, 1.0 / sizes[chosen, None] ** 2
    posterior = (own * means + common * centres[:, None]) / (own + common)
    truths = posterior + random.standard_normal((draws, count)) / np.sqrt(own + common)
    return np.bincount(truths.argmin(axis=1), minlength=count) / draws


def _centres(
    means: NDArray[np.float64], variances: NDArray[np.float64], sizes: NDArray[np.float64], pooled: float
) -> tuple[NDArray[np.float64], ...]:
    """Returns what draws of the variances [S, K] and sizes [G] say about the true means, each [S, G].

    These are their centre, its precision, and how probable the size is, up to a factor. Here the centre is unknown.
    """
    weights = 1.0 / (variances[:, None, :] + sizes[:, None] ** 2)
    weight = weights.sum(axis=2)
    centre = (weights @ means) / weight
    squares = (weights * (means - centre[..., None]) ** 2).sum(axis=2)
    logs = 0.5 * (np.log(weights).sum(axis=2) - np.log(weight) - squares)
    logs += np.log(sizes / (1.0 + (sizes / pooled) ** 2))  # half-Cauchy; the sizes are evenly spaced by logarithm
    return centre, weight, np.exp(logs - logs.max(axis=1, keepdims=True))
