"""How much seeds of one variant differ, estimated from few seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np
    from scipy import special

if TYPE_CHECKING:
    from numpy.typing import NDArray

OTHERS_WEIGHT = 2.0  # degrees of freedom that the other variants' spread counts for in that of a variant
FLOOR = 1e-6  # least standard deviation, relative to the largest loss, so that equal scores are no certainty


@dataclass(frozen=True)
class Spread:
    """The spread between seeds of several variants, each estimated from its own seeds and those of the others.

    Two seeds alone say little: an interval from them is more than three times as wide as one from the common spread of
    four variants. A common spread alone is wrong where one variant is less stable: in simulations its interval held the
    mean in 64 to 87 % instead of 95 % (docs/choosing.md). So the spread of the others counts as much as two more seeds.

    Attributes:
        counts: Number of seeds of each variant [K].
        variances: Variance of the losses of each variant [K].
        degrees: Degrees of freedom of each variance [K].
        pooled: Common standard deviation.
    """

    counts: NDArray[np.int64]
    variances: NDArray[np.float64]
    degrees: NDArray[np.float64]
    pooled: float

    @classmethod
    def of(cls, losses: Sequence[NDArray[np.float64]]) -> Spread | None:
        """Estimates the spread; None if no variant has two seeds, so that nothing is known about it."""
        counts = np.array([len(values) for values in losses])
        own = counts - 1
        if not own.sum():
            return None
        sums = np.array([((values - values.mean()) ** 2).sum() for values in losses])
        pooled = max(float(np.sqrt(sums.sum() / own.sum())), FLOOR * max(float(np.abs(v).max()) for v in losses), FLOOR)
        others = own.sum() - own
        of_others = np.where(others > 0, (sums.sum() - sums) / np.maximum(others, 1), 0.0)
        weight = np.minimum(OTHERS_WEIGHT, others)
        degrees = own + weight
        variances = np.maximum((sums + weight * of_others) / degrees, (FLOOR * pooled) ** 2)
        return cls(counts, variances, degrees, pooled)

    def half_widths(self, confidence: float) -> NDArray[np.float64]:
        """Returns half the width of the interval of each variant's mean over many seeds, by Student's t [K]."""
        quantiles = special.stdtrit(self.degrees, (1.0 + confidence) / 2.0)
        return quantiles * np.sqrt(self.variances / self.counts)
