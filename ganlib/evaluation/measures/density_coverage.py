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


def density_coverage(
    generated: NDArray[np.floating], real: NDArray[np.floating], *, neighbour: int = NEIGHBOUR
) -> tuple[float, float]:
    """Returns how densely generated images lie among real ones, and the share of real ones that have one nearby.

    Nearby is nearer than the real image's so-many-th real neighbour. Density counts the real images that a generated
    one is near to, over that number: 1 in expectation for one distribution, more where samples crowd or real outliers
    have large balls. Coverage of two samples of one distribution is 1 - 1/2^5 = 0.969 for the fifth neighbour and
    equal, large counts; it falls with missing modes and with bad images, and generated outliers cannot raise it.

    Args:
        generated: Features [N, D].
        real: Features [M, D].
        neighbour: Which neighbour's distance is a real image's radius.

    Raises:
        ValueError: Features are not finite or not two-dimensional, of two widths, or no more than `neighbour`, or
            that is none.
    """
    generated, real = comparable(generated, real, least=neighbour + 1)
    radii = squared_radii(real, neighbour=neighbour)
    near, covered = 0, np.zeros(len(real), bool)
    for _, distances in squared_distances(generated, real):
        inside = distances < radii
        near += int(inside.sum())
        covered |= inside.any(axis=0)
    return near / (neighbour * len(generated)), float(covered.mean())
