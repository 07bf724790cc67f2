"""Distances between images, a block of rows at a time.

NearestNeighbors of scikit-learn finds radii in half the time. But its import takes as long as that saves for 10,000
images, and it has no query with a different radius for each point, so the distances would still be needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 2**23  # distances in memory at the same time, 64 MiB


def squared_distances(
    rows: NDArray[np.float64], others: NDArray[np.float64]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yields squared Euclidean distances [n, M] of a block of rows to all others, and the number of its first row.

    Computes |a - b|^2 = |a|^2 + |b|^2 - 2ab in float64, with the mean of the others subtracted: if the images have a
    large common part, its rounding errors would exceed small distances.

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
        distances = (-2.0 * block) @ others.T
        distances += (block**2).sum(axis=1)[:, None]
        distances += squares
        yield start, np.maximum(distances, 0.0, out=distances)


def squared_radii(features: NDArray[np.float64], *neighbours: int) -> list[NDArray[np.float64]]:
    """Returns the squared distance [N] of each row of features [N, D] to its k-th nearest other row, for each k.

    Raises:
        ValueError: A number is less than 1.
    """
    if min(neighbours) < 1:
        raise ValueError(f"expected a neighbour of at least 1. Received: neighbour={min(neighbours)}")
    columns = [neighbour - 1 for neighbour in neighbours]
    radii = np.empty((len(neighbours), len(features)))
    for start, distances in squared_distances(features, features):
        count = len(distances)
        distances[np.arange(count), np.arange(start, start + count)] = np.inf
        distances.partition(columns, axis=1)
        radii[:, start : start + count] = distances[:, columns].T
    return list(radii)


def median_nearest(features: NDArray[np.floating]) -> float:
    """Returns the median distance from a row of features [N, D] to its nearest other row."""
    [radii] = squared_radii(features.astype(np.float64), 1)
    return float(np.median(np.sqrt(radii)))
