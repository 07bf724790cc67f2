"""Mean and covariance of features, streamed in float64 and merged without loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import storage

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Statistics:
    """Count, mean and scatter of features (Chan, Golub, LeVeque 1983 for the merge).

    Attributes:
        count: Number of feature vectors.
        mean: float64 [D].
        scatter: float64 [D, D], the sum of outer products of the centred features.
    """

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, batches: Iterable[NDArray[np.floating]]) -> Statistics:
        """Accumulates batches of features [n, D], in any float type.

        Raises:
            ValueError: The features are not finite, not two-dimensional, or fewer than two.
        """
        total: Statistics | None = None
        for batch in batches:
            part = cls._of_one(batch)
            total = part if total is None else total.merge(part)
        if total is None or total.count < 2:
            raise ValueError(f"expected at least 2 feature vectors. Received: {0 if total is None else total.count}")
        return total

    @classmethod
    def _of_one(cls, batch: NDArray[np.floating]) -> Statistics:
        features = _checked(batch)
        mean = features.mean(axis=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Statistics) -> Statistics:
        """Returns the statistics of both samples together."""
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        scatter = self.scatter + other.scatter + np.outer(shift, shift) * (self.count * other.count / count)
        return Statistics(count, mean, scatter)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Unbiased covariance, float64 [D, D]."""
        return self.scatter / (self.count - 1)

    def save(self, path: Path) -> None:
        """Writes an npz file that is whole or absent."""
        with storage.whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, count=self.count, mean=self.mean, scatter=self.scatter)

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(int(file["count"]), file["mean"], file["scatter"])


def comparable(
    first: NDArray[np.floating], second: NDArray[np.floating], *, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns two samples of features, [N, D] and [M, D], in float64.

    Args:
        first: Features, in any float type.
        second: Others of the same space.
        least: Fewest of each that the measure can do with.

    Raises:
        ValueError: Features are not finite or not two-dimensional, of two widths, or fewer than `least`.
    """
    first, second = _checked(first), _checked(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"expected features of one width. Received: {first.shape[1]} and {second.shape[1]}")
    if min(len(first), len(second)) < least:
        raise ValueError(f"expected at least {least} feature vectors. Received: {len(first)} and {len(second)}")
    return first, second


def _checked(features: NDArray[np.floating]) -> NDArray[np.float64]:
    if features.ndim != 2:
        raise ValueError(f"expected features of shape [n, D]. Received: shape={features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("expected finite features. Received: infinite or NaN values")
    return features.astype(np.float64, copy=False)
