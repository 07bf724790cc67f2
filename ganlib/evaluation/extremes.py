"""The best and the worst samples by a measure, with what is shown beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOST = 6  # samples on each side


class Extreme(NamedTuple):
    """One sample.

    Attributes:
        value: Its value of the measure.
        pictures: uint8 [P, H, W, C], what is shown side by side.
    """

    value: float
    pictures: NDArray[np.uint8]


class Extremes:
    """The samples with the lowest and the highest values, from batches. Only these are kept in memory.

    Args:
        shown: What the pictures of a sample show, from the left.
        lower_is_better: Whether the lowest values are the best.

    Attributes:
        measure: Name of the measure; empty without any samples.
    """

    def __init__(self, shown: str, *, lower_is_better: bool) -> None:
        self.shown, self.measure = shown, ""
        self._lower_is_better = lower_is_better
        self._sorted: list[Extreme] = []  # the lowest values first

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, measure: str, values: NDArray[np.float64], pictures: Sequence[NDArray[np.uint8]]) -> None:
        """Adds a batch.

        Args:
            measure: Name of the measure, the same for all batches.
            values: float64 [N]; samples whose value is NaN are left out.
            pictures: What is shown side by side for each sample, uint8 [N, H, W, C] each.
        """
        self.measure = measure
        rows = np.flatnonzero(~np.isnan(values))
        self._sorted += [Extreme(float(values[row]), np.stack([each[row] for each in pictures])) for row in rows]
        self._sorted.sort(key=lambda extreme: extreme.value)
        del self._sorted[MOST:-MOST]

    @property
    def best(self) -> list[Extreme]:
        """The best samples, the best one first."""
        return self._from_best[: -(-len(self) // 2)]

    @property
    def worst(self) -> list[Extreme]:
        """The worst samples, the worst one first. None of them is among the best."""
        return self._from_best[-(-len(self) // 2) :][::-1]

    @property
    def _from_best(self) -> list[Extreme]:
        return self._sorted if self._lower_is_better else self._sorted[::-1]
