"""The scale on which scores are compared: which direction is better, and whether ratios count or differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ganlib.evaluation import Score

SURE_ERRORS = 2.0  # sampling errors that a distance must be above zero before its logarithm means anything


@dataclass(frozen=True)
class Scale:
    """Converts scores to *losses*, numbers that are lower for better candidates, and back.

    The spread between seeds grows with a distance: a variant at 150 varies by several units, one at 4 by tenths. On
    the scale of logarithms the spreads are alike, so that one variant can tell about the spread of another. Means of
    logarithms are those of ratios: the mean score is then a geometric mean.

    Attributes:
        lower: Whether lower scores are better.
        log: Whether losses are logarithms; only with `lower`.
    """

    lower: bool
    log: bool = False

    @classmethod
    def of(cls, scores: Sequence[Score]) -> Scale:
        """Returns the scale for scores of one measure.

        Distances are compared by their logarithms, unless one cannot be told from zero: unbiased distances may be
        zero or less.

        Raises:
            ValueError: The measure has no better direction.
        """
        lower = lower_is_better(scores[0])
        return cls(lower, log=lower and all(score.value > SURE_ERRORS * (score.error or 0.0) for score in scores))

    def losses(self, values: ArrayLike) -> NDArray[np.float64]:
        """Returns the losses of scores."""
        numbers = np.asarray(values, np.float64)
        if self.log:
            return np.log(numbers)
        return numbers if self.lower else -numbers

    def score(self, loss: float) -> float:
        """Returns the score of a loss."""
        if self.log:
            return float(np.exp(loss))
        return float(loss if self.lower else -loss)

    def interval(self, loss: float, half: float) -> tuple[float, float]:
        """Returns the lower and the upper end, as scores, of an interval around a loss."""
        low, high = sorted((self.score(loss - half), self.score(loss + half)))
        return low, high

    def spread_text(self, spread: float) -> str:
        """Returns a standard deviation of losses for people: relative for logarithms."""
        return f"{100 * np.expm1(spread):.2g} %" if self.log else f"{spread:.2g}"


def lower_is_better(score: Score) -> bool:
    """Returns whether lower values of a measure are better.

    The sentence that is stored with the score tells it, so that scores of other versions are understood.

    Raises:
        ValueError: The measure has no better direction, such as the number of classes seen.
    """
    directions = [word for word in ("lower", "higher") if f"{word} is better" in score.meaning]
    if len(directions) != 1:
        raise ValueError(
            "expected a measure of which lower or higher values are better. "
            f"Received: measure={score.name!r} ({score.meaning})"
        )
    return directions == ["lower"]
