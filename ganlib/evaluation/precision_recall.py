"""Improved precision and recall (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.neighbours import squared_distances, squared_radii
from ganlib.evaluation.statistics import comparable

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEIGHBOUR = 3


def precision_recall(
    generated: NDArray[np.floating], real: NDArray[np.floating], *, neighbour: int = NEIGHBOUR
) -> tuple[float, float]:
    """Returns the share of generated images among the real ones, and of real images among the generated ones.

    An image is among others if it lies no farther from one of them than that one's so-many-th nearest neighbour.
    Precision falls with bad images, recall with missing ones, though generated outliers raise it. Equal counts are
    best.

    Args:
        generated: Features [N, D].
        real: Features [M, D].
        neighbour: Which neighbour's distance is an image's radius.

    Raises:
        ValueError: Features are not finite or not two-dimensional, of two widths, or no more than `neighbour`, or
            that is none.
    """
    generated, real = comparable(generated, real, least=neighbour + 1)
    of_generated, of_real = (squared_radii(sample, neighbour=neighbour) for sample in (generated, real))
    precise, recalled = 0, np.zeros(len(real), bool)
    for start, distances in squared_distances(generated, real):
        precise += int((distances <= of_real).any(axis=1).sum())
        recalled |= (distances <= of_generated[start : start + len(distances), None]).any(axis=0)
    return precise / len(generated), float(recalled.mean())
