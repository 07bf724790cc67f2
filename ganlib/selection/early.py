"""Whether early scores tell the final ones: would a successive halving have been safe?

A halving trains all candidates for a part of the budget and goes on with the better half. It is no comparison at an
equal budget, and it loses candidates that are slow at first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from etils import epy

from ganlib.schema import Config

with epy.lazy_imports():
    import numpy as np
    from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.selection.curves import Curve

FRACTIONS = (0.25, 0.5)  # of the images of a whole training
FEWEST = 4  # candidates for a correlation
CONFIDENCE = 0.95
HALVINGS = 2000  # each with one seed of each variant
SIMULATIONS = 1000  # for each correlation that is tried
TRIED = 61  # correlations from -0.99 to 0.999


class Early(Config):
    """Early scores against final ones."""

    fraction: float
    """Part of the budget at which the early scores were taken."""
    candidates: int
    """Number of candidates that have both."""
    correlation: float | None = None
    """Spearman's rank correlation; None if there are too few candidates."""
    low: float | None = None
    """Lower end of its 95 % interval."""
    high: float | None = None
    """Upper end."""
    kept: float | None = None
    """Share of halvings, with one seed of each variant, that would have kept the final best of these seeds; None for a
    single variant."""
    chance: float | None = None
    """The same for early scores that tell nothing."""


def early_against_late(curves: Sequence[Curve], final: Mapping[tuple[str, int], float]) -> list[Early]:
    """Compares the best scores so far at parts of the budget with the final ones.

    Args:
        curves: Scores during training.
        final: Final loss by variant and seed, lower for better candidates. A candidate without one has failed later,
            and counts as worse than all that have one. What had failed by then is left out.
    """
    budgets = _budgets(curves)
    found = []
    for fraction in FRACTIONS:
        early, late, variants = [], [], []
        for curve in curves:
            outcome, seen = curve.outcome, fraction * budgets[curve.outcome.variant]
            value = curve.best_until(seen)
            over = outcome.failure and curve.images[-1] < seen  # no early score is needed to stop it
            if value is not None and not over:
                early.append(value)
                late.append(final.get((outcome.variant, outcome.seed), np.inf))
                variants.append(outcome.variant)
        found.append(_compare(fraction, np.array(early), np.array(late), variants))
    return found


def _budgets(curves: Sequence[Curve]) -> dict[str, float]:
    """Returns the images of a whole training of each variant; of one that always failed, the most that others saw."""
    seen: dict[str, float] = {}
    for curve in curves:
        if not curve.outcome.failure:
            seen[curve.outcome.variant] = max(seen.get(curve.outcome.variant, 0.0), curve.images[-1])
    longest = max(seen.values(), default=0.0)
    return {curve.outcome.variant: seen.get(curve.outcome.variant, longest) for curve in curves}


def _compare(fraction: float, early: NDArray[np.float64], late: NDArray[np.float64], variants: list[str]) -> Early:
    count, correlation, low, high = len(early), None, None, None
    if count >= FEWEST and len(set(early)) > 1 and len(set(late)) > 1:
        correlation = rank_correlation(early, late)
        low, high = correlation_interval(correlation, count)
    kept = halving(early, late, variants)
    number = len(set(variants))
    chance = None if kept is None else -(-number // 2) / number
    return Early(
        fraction=fraction, candidates=count, correlation=correlation, low=low, high=high, kept=kept, chance=chance
    )


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Returns Spearman's rank correlation."""
    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])


def correlation_interval(observed: float, count: int) -> tuple[float, float]:
    """Returns the interval of a rank correlation of `count` pairs.

    It holds the correlations with which the observed one, or one further away, is not rarer than it may be, from
    simulated pairs with a normal distribution. Resampling the pairs would not do: four pairs in perfect order stay in
    perfect order in any resample.
    """
    random = np.random.default_rng(0)
    first, other = random.standard_normal((2, SIMULATIONS, count))
    ranks = _centred_ranks(first)
    tail = (1.0 - CONFIDENCE) / 2.0
    fits = []
    for correlation in np.tanh(np.linspace(np.arctanh(-0.99), np.arctanh(0.999), TRIED)):
        second = correlation * first + np.sqrt(1.0 - correlation**2) * other
        simulated = (ranks * _centred_ranks(second)).mean(axis=1)
        above, below = (simulated >= observed - 1e-9).mean(), (simulated <= observed + 1e-9).mean()
        if min(above, below) > tail:
            fits.append(6.0 / np.pi * np.arcsin(correlation / 2.0))  # Spearman's, of many such pairs
    if not fits:  # further out than any that was tried
        return observed, observed
    return min(float(fits[0]), observed), max(float(fits[-1]), observed)


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the ranks [S, N] in each row, with mean 0 and variance 1."""
    ranks = values.argsort(axis=1).argsort(axis=1).astype(np.float64)
    return (ranks - ranks.mean(axis=1, keepdims=True)) / ranks.std(axis=1, keepdims=True)


def halving(early: NDArray[np.float64], late: NDArray[np.float64], variants: Sequence[str]) -> float | None:
    """Returns the share of halvings that keep the final best, each with one seed of each variant, drawn at random."""
    names = list(dict.fromkeys(variants))
    if len(names) < 2:
        return None
    random = np.random.default_rng(0)
    places = [[place for place, variant in enumerate(variants) if variant == name] for name in names]
    drawn = np.stack([random.choice(own, HALVINGS) for own in places], axis=1)
    best = late[drawn].argmin(axis=1)
    order = early[drawn].argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return float((order[np.arange(HALVINGS), best] < -(-len(names) // 2)).mean())
