"""Improved precision and recall (Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures.neighbours import squared_distances, squared_radii
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


def realism(
    generated: NDArray[np.floating], real: NDArray[np.floating], *, neighbour: int = NEIGHBOUR
) -> NDArray[np.float64]:
    """Returns how far inside the real images each generated one lies, float64 [N]; 1 is their edge, more is better.

    The largest ratio, over real images, of the radius to the distance of the generated image. The half of the real
    images with the larger radii is left out, for an outlier's radius would make everything realistic (section 5 of
    the paper).

    Args:
        generated: Features [N, D].
        real: Features [M, D].
        neighbour: Which neighbour's distance is an image's radius.

    Raises:
        ValueError: As for precision and recall, but one generated image will do.
    """
    generated, real = comparable(generated, real, least=1)
    comparable(real, real, least=neighbour + 1)
    radii = squared_radii(real, neighbour=neighbour)
    kept = radii <= np.median(radii)
    found = np.empty(len(generated))
    for start, distances in squared_distances(generated, real[kept]):
        ratios = np.divide(radii[kept], distances, out=np.full_like(distances, np.inf), where=distances > 0)
        found[start : start + len(distances)] = np.sqrt(ratios.max(axis=1))
    return found
