"""Density and coverage (Naeem et al. 2020, https://arxiv.org/abs/2002.09797)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures.neighbours import squared_distances, squared_radii
from ganlib.evaluation.statistics import comparable

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEIGHBOUR = 5


class DensityCoverage:
    """Density and coverage, computed from blocks of distances, so that other measures can share these.

    Args:
        real_radii: Squared radii [M] of the real images.
        neighbour: Which neighbour's distance is the radius.
    """

    def __init__(self, real_radii: NDArray[np.float64], *, neighbour: int = NEIGHBOUR) -> None:
        self._radii, self._neighbour = real_radii, neighbour
        self._pairs, self._generated = 0, 0
        self._covered = np.zeros(len(real_radii), bool)

    def add(self, distances: NDArray[np.float64]) -> None:
        """Adds squared distances [n, M] of the next generated images to all real images."""
        inside = distances < self._radii
        self._pairs += int(inside.sum())
        self._generated += len(distances)
        self._covered |= inside.any(axis=0)

    def result(self) -> tuple[float, float]:
        """Returns density and coverage of the generated images so far."""
        return self._pairs / (self._neighbour * self._generated), float(self._covered.mean())


def density_coverage(
    generated: NDArray[np.floating], real: NDArray[np.floating], *, neighbour: int = NEIGHBOUR
) -> tuple[float, float]:
    """Returns how densely real images surround the generated ones, and the share of real images with one nearby.

    A generated image is near a real one if it is closer than the real image's k-th nearest real neighbour. Density is
    the mean number of real images that a generated image is near to, divided by k. Its expected value is 1 if both
    sets have the same distribution; it is larger if samples crowd together or if real outliers have large radii.
    Coverage is the share of real images with a generated image nearby. For the fifth neighbour and two large sets of
    equal size and distribution, it is 1 - 1/2^5 = 0.969. Missing modes and bad images lower it, and generated outliers
    cannot raise it.

    Args:
        generated: Features [N, D].
        real: Features [M, D].
        neighbour: Which neighbour's distance is a real image's radius, k.

    Raises:
        ValueError: Features are not finite or not two-dimensional, differ in width, or are no more than `neighbour`;
            or `neighbour` is less than 1.
    """
    generated, real = comparable(generated, real, least=neighbour + 1)
    [radii] = squared_radii(real, neighbour)
    measure = DensityCoverage(radii, neighbour=neighbour)
    for _, distances in squared_distances(generated, real):
        measure.add(distances)
    return measure.result()
