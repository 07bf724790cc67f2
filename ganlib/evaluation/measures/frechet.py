"""Frechet distance of two Gaussians, FID in the canonical space (Heusel et al. 2017, https://arxiv.org/abs/1706.08500)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures import jackknife
from ganlib.evaluation.statistics import Statistics

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-6  # relative to the traces: a distance further below zero is an error, not rounding
NEGLIGIBLE = 1e-9  # relative to the traces: limit for the sum of all rounding errors


@dataclass(frozen=True)
class FrechetEstimate:
    """An estimate of a Frechet distance from a sample.

    Attributes:
        value: The distance of the sample's own statistics; the fewer images, the larger.
        error: Its standard error over samples of this size; None if there are too few images for the jackknife.
        infinity: Estimate for infinitely many images; it may be below zero. None if there are too few images for the
            jackknife, or if it leaves no more images than features: then the bias is not proportional to 1/count.
    """

    value: float
    error: float | None = None
    infinity: float | None = None


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """Returns |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Raises:
        ValueError: The feature spaces differ, or the result is more negative than rounding explains.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"expected features of one width. Received: {first.mean.size} and {second.mean.size}")
    if None not in (first.space, second.space) and first.space != second.space:
        raise ValueError(f"expected statistics of one feature space. Received: {first.space} and {second.space}")
    traces = float(np.trace(first.covariance) + np.trace(second.covariance))
    shift = first.mean - second.mean
    distance = float(shift @ shift) + traces - 2.0 * _root_trace(first, second, rounding=NEGLIGIBLE * traces)
    if distance < -ROUNDING * traces:
        raise ValueError(f"the Frechet distance is more negative than rounding explains. Received: distance={distance}")
    return max(distance, 0.0)


def frechet_estimate(
    sample: NDArray[np.floating], reference: Statistics | NDArray[np.floating], *, blocks: int = jackknife.BLOCKS
) -> FrechetEstimate:
    """Returns a sample's distance to a reference with its error, and an estimate without the bias of few images.

    The bias is proportional to 1/count. As in FID-infinity (Chong and Forsyth 2020,
    https://arxiv.org/abs/1911.07023), it is estimated from the distances of fewer images. Here, these are the distances
    of the jackknife, which leaves out a tenth of the images at a time and also gives the error.

    Args:
        sample: Features [N, D], in any order.
        reference: Statistics, whose own bias remains, or features [M, D], of which the same share is left out.
        blocks: Number of disjoint parts of the sample, at least two.

    Raises:
        ValueError: Features are not finite or not two-dimensional, fewer than two, or of a different width.
    """
    if isinstance(reference, Statistics):
        total, blocks = reference, min(blocks, len(sample))
    else:
        total, blocks = Statistics.of([reference]), min(blocks, len(sample), len(reference))
    value = frechet_distance(Statistics.of([sample]), total)
    if blocks < jackknife.FEWEST:
        return FrechetEstimate(value)
    samples = Statistics.without_each(jackknife.blocks(sample, blocks))
    others: Iterable[Statistics] = [total] * blocks
    if not isinstance(reference, Statistics):
        others = Statistics.without_each(jackknife.blocks(reference, blocks, sample=1))
    partial = np.array([frechet_distance(one, other) for one, other in zip(samples, others, strict=True)])
    sizes = [len(sample)] if isinstance(reference, Statistics) else [len(sample), len(reference)]
    enough = min(size - -(-size // blocks) for size in sizes) > sample.shape[1]
    return FrechetEstimate(value, jackknife.error(partial), jackknife.without_bias(value, partial) if enough else None)


def _root_trace(first: Statistics, second: Statistics, *, rounding: float) -> float:
    """Returns tr (S1 S2)^(1/2). With S = R' R, this is the sum of the singular values of R1 R2'.

    Their squares are the eigenvalues of R2 S1 R2', which take a third of the time. But the square root magnifies the
    rounding errors of those near zero (6e-8 instead of 1e-10 for the pixels of Fashion-MNIST), so they are used only
    if a bound on these errors is small enough. With fewer images than features, most are zero, and R is small.
    """
    if first.factor is None and second.factor is None:
        squares = np.linalg.eigvalsh(second.root @ first.covariance @ second.root.T)
        if squares[0] > 0:
            roots = np.sqrt(squares)
            if np.finfo(np.float64).eps * squares[-1] * (0.5 / roots).sum() < rounding:
                return float(roots.sum())
    return float(np.linalg.svd(first.root @ second.root.T, compute_uv=False).sum())


def expected_distance(statistics: Statistics, *, first: int, second: int) -> float:
    """Returns the expected distance of two samples from the same Gaussian, which is not zero.

    This is the first order in 1/count, for counts well above the number of features. With the eigenvalues l of the
    covariance S, it is (1/n1 + 1/n2) (tr S + 1/2 sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)).

    Args:
        statistics: Statistics of the distribution, from all images.
        first: Number of images in the first sample.
        second: Number of images in the second sample.
    """
    eigenvalues = np.clip(np.linalg.eigvalsh(statistics.covariance), 0.0, None)
    sums = eigenvalues[:, None] + eigenvalues
    products = np.outer(eigenvalues, eigenvalues) * (1.0 + np.eye(len(eigenvalues)))
    pairs = np.divide(products, sums, out=np.zeros_like(sums), where=sums > 0)
    return float((1.0 / first + 1.0 / second) * (eigenvalues.sum() + pairs.sum() / 2.0))
