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


class PrecisionRecall:
    """Precision and recall, computed from blocks of distances, so that other measures can share these.

    Args:
        generated_radii: Squared radii [N] of the generated images.
        real_radii: Squared radii [M] of the real images.
    """

    def __init__(self, generated_radii: NDArray[np.float64], real_radii: NDArray[np.float64]) -> None:
        self._generated_radii, self._real_radii = generated_radii, real_radii
        self._precise, self._generated = 0, 0
        self._recalled = np.zeros(len(real_radii), bool)

    def add(self, distances: NDArray[np.float64]) -> None:
        """Adds squared distances [n, M] of the next generated images to all real images."""
        radii = self._generated_radii[self._generated : self._generated + len(distances), None]
        self._precise += int((distances <= self._real_radii).any(axis=1).sum())
        self._recalled |= (distances <= radii).any(axis=0)
        self._generated += len(distances)

    def result(self) -> tuple[float, float]:
        """Returns precision and recall of the generated images so far."""
        return self._precise / self._generated, float(self._recalled.mean())


def precision_recall(
    generated: NDArray[np.floating], real: NDArray[np.floating], *, neighbour: int = NEIGHBOUR
) -> tuple[float, float]:
    """Returns the share of generated images among the real ones, and of real images among the generated ones.

    An image is among others if its distance to one of them is at most the distance of that one to its k-th nearest
    neighbour. Bad images lower precision. Missing ones lower recall, though generated outliers raise it. The numbers
    of images should be equal.

    Args:
        generated: Features [N, D].
        real: Features [M, D].
        neighbour: Which neighbour's distance is an image's radius, k.

    Raises:
        ValueError: Features are not finite or not two-dimensional, differ in width, or are no more than `neighbour`;
            or `neighbour` is less than 1.
    """
    generated, real = comparable(generated, real, least=neighbour + 1)
    [generated_radii], [real_radii] = (squared_radii(sample, neighbour) for sample in (generated, real))
    measure = PrecisionRecall(generated_radii, real_radii)
    for _, distances in squared_distances(generated, real):
        measure.add(distances)
    return measure.result()


def realism(
    generated: NDArray[np.floating], real: NDArray[np.floating], *, neighbour: int = NEIGHBOUR
) -> NDArray[np.float64]:
    """Returns how deep among the real images each generated one is, float64 [N]: 1 at the edge, more inside.

    The largest ratio, over real images, of the radius to the distance of the generated image. The half of the real
    images with the larger radii is left out, because an outlier's radius would make everything realistic (section 5 of
    the paper).

    Args:
        generated: Features [N, D].
        real: Features [M, D].
        neighbour: Which neighbour's distance is an image's radius, k.

    Raises:
        ValueError: As for precision and recall, except that one generated image is enough.
    """
    generated, real = comparable(generated, real, least=1)
    comparable(real, real, least=neighbour + 1)
    [radii] = squared_radii(real, neighbour)
    chosen = radii <= np.median(radii)
    values = np.empty(len(generated))
    for start, distances in squared_distances(generated, real[chosen]):
        ratios = np.divide(radii[chosen], distances, out=np.full_like(distances, np.inf), where=distances > 0)
        values[start : start + len(distances)] = np.sqrt(ratios.max(axis=1))
    return values
