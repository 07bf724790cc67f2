"""Distances between the images of one set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def median_nearest(features: NDArray[np.float32]) -> float:
    """Returns the median distance from a row of features [N, D] to its nearest other row, N up to thousands.

    By |a - b|^2 = |a|^2 + |b|^2 - 2ab in float64, whose rounding leaves duplicates at zero or close to it.
    """
    rows = features.astype(np.float64)
    squares = (rows**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * rows @ rows.T
    np.fill_diagonal(distances, np.inf)
    return float(np.median(np.sqrt(np.maximum(distances.min(axis=1), 0.0))))
