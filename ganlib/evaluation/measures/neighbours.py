"""Distances between images, a block of rows at a time.

scikit-learn's NearestNeighbors finds radii in half the time, but its import costs about what that saves on 10,000
images, and it has no query with a radius for each point, so the distances would be needed all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2**23  # distances in memory at once, 64 MiB


def squared_distances(
    rows: NDArray[np.float64], others: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yields squared Euclidean distances [n, M] of some rows to all others, and the number of the first of them.

    By |a - b|^2 = |a|^2 + |b|^2 - 2ab in float64 about the others' mean, since a large common part would leave its
    rounding in place of small distances.

    Args:
        rows: Features [N, D].
        others: Features [M, D].
    """
    mean = others.mean(axis=0)
    rows, others = rows - mean, others - mean
    squares = (others**2).sum(axis=1)
    step = max(1, BLOCK // len(others))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        distances = block @ others.T
        distances *= -2.0
        distances += (block**2).sum(axis=1)[:, None]
        distances += squares
        yield start, np.maximum(distances, 0.0, out=distances)


def squared_radii(features: NDArray[np.float64], *, neighbour: int) -> NDArray[np.float64]:
    """Returns the squared distance [N] of each row of features [N, D] to its so-many-th nearest other row.

    Raises:
        ValueError: The count of neighbours does not begin at 1.
    """
    if neighbour < 1:
        raise ValueError(f"expected a neighbour from 1 on. Received: neighbour={neighbour}")
    radii = np.empty(len(features))
    for start, distances in squared_distances(features, features):
        count = len(distances)
        distances[np.arange(count), np.arange(start, start + count)] = np.inf
        distances.partition(neighbour - 1, axis=1)
        radii[start : start + count] = distances[:, neighbour - 1]
    return radii


def median_nearest(features: NDArray[np.floating]) -> float:
    """Returns the median distance from a row of features [N, D] to its nearest other row."""
    return float(np.median(np.sqrt(squared_radii(features.astype(np.float64), neighbour=1))))
