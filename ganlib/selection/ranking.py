"""A ranking of variants from the scores of their seeds, and how sure it is. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etils import epy

from ganlib.selection.best import probabilities_of_best
from ganlib.selection.spread import Spread

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from ganlib.selection.scale import Scale

CONFIDENCE = 0.95  # of an interval
SURE = 0.9  # probability with which the contenders hold the best


@dataclass(frozen=True)
class Standing:
    """A variant in the ranking.

    Attributes:
        variant: Its name.
        scores: The score of each seed.
        mean: Mean score over the seeds; with logarithms, the geometric mean.
        low: Lower end of the interval of the mean over many seeds; None if nothing is known about the spread.
        high: Upper end.
        probability: Probability that the variant is the best; None if it is the only one, or if nothing is known about
            the spread.
    """

    variant: str
    scores: tuple[float, ...]
    mean: float
    low: float | None = None
    high: float | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Ranking:
    """Variants, the best mean score first.

    Attributes:
        standings: The variants.
        contenders: The fewest variants that hold the best one with a probability of `SURE` or more, the most probable
            first. One is a clear winner, several are a tie. Empty for one variant, or if nothing is known about the
            spread.
        spread: Standard deviation of the losses between seeds, over all variants; None if unknown.
        separated: Whether every seed of the first variant beats every seed of the second; None without a second.
        chance: How often that happens to two equal variants, whichever of them is ahead; None without a second.
    """

    standings: tuple[Standing, ...]
    contenders: tuple[str, ...]
    spread: float | None
    separated: bool | None
    chance: float | None

    @property
    def order(self) -> list[str]:
        """Names of the variants, the best mean score first."""
        return [standing.variant for standing in self.standings]

    def of(self, variant: str) -> Standing:
        """Returns the standing of a variant."""
        return self.standings[self.order.index(variant)]


def rank(scores: Mapping[str, Sequence[float]], scale: Scale) -> Ranking:
    """Ranks variants by the scores of their seeds.

    Seeds are the error that counts: another seed of the same variant scores differently, by far more than other
    samples of the same generator do. Seeds of different variants are taken as independent.

    Args:
        scores: One score or more for each variant, a seed each.
        scale: Which direction is better.

    Raises:
        ValueError: There is no variant, or one without a score.
    """
    if not scores or not all(scores.values()):
        raise ValueError(f"expected one score or more for each variant. Received: scores={dict(scores)}")
    losses = {variant: scale.losses(values) for variant, values in scores.items()}
    means = {variant: float(values.mean()) for variant, values in losses.items()}
    order = sorted(means, key=means.__getitem__)
    spread = Spread.of([losses[variant] for variant in order])
    standings = tuple(Standing(name, tuple(scores[name]), scale.score(means[name])) for name in order)
    if spread is not None:
        ends = [
            scale.interval(means[name], half) for name, half in zip(order, spread.half_widths(CONFIDENCE), strict=True)
        ]
        several = len(order) > 1
        chances = (
            probabilities_of_best(np.array([means[name] for name in order]), spread).tolist() if several else [None]
        )
        standings = tuple(
            replace(standing, low=low, high=high, probability=chance)
            for standing, (low, high), chance in zip(standings, ends, chances, strict=True)
        )
    separated = chance = None
    if len(order) > 1:
        first, second = (losses[variant] for variant in order[:2])
        separated, chance = bool(first.max() < second.min()), chance_of_separation(len(first), len(second))
    contenders = () if spread is None or len(order) == 1 else _contenders(standings)
    return Ranking(standings, contenders, None if spread is None else spread.pooled, separated, chance)


def chance_of_separation(first: int, second: int) -> float:
    """Returns how often every seed of one of two equal variants beats every seed of the other, whichever is ahead.

    All orders of the seeds are equally likely, and two of them separate the variants.
    """
    return min(1.0, 2.0 / math.comb(first + second, first))


def _contenders(standings: Sequence[Standing]) -> tuple[str, ...]:
    chosen, total = [], 0.0
    for standing in sorted(standings, key=lambda standing: -(standing.probability or 0.0)):
        if total >= SURE:
            break
        chosen.append(standing.variant)
        total += standing.probability or 0.0
    return tuple(chosen)
