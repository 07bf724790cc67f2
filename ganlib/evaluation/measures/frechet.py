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

ROUNDING = 1e-6  # relative to the traces: a distance below zero by more than this is an error, not rounding
NEGLIGIBLE = 1e-9  # relative to the traces: the most that rounding may come to, were all of it of one sign


@dataclass(frozen=True)
class FrechetEstimate:
    """What a sample tells of a Frechet distance.

    Attributes:
        value: The distance of the sample's own statistics; larger where images are fewer.
        error: Its standard error over samples of this size, or None for fewer images than can be left out.
        infinity: The distance that endless samples would have; it may come out below zero. None likewise, and where
            no more images than features would be left: then the bias does not fall with one over the count.
    """

    value: float
    error: float | None = None
    infinity: float | None = None


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """Returns |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Raises:
        ValueError: The statistics are of different feature spaces, or the result is negative beyond rounding.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"expected features of one width. Received: {first.mean.size} and {second.mean.size}")
    if None not in (first.space, second.space) and first.space != second.space:
        raise ValueError(f"expected statistics of one feature space. Received: {first.space} and {second.space}")
    traces = float(np.trace(first.covariance) + np.trace(second.covariance))
    shift = first.mean - second.mean
    distance = float(shift @ shift) + traces - 2.0 * _root_trace(first, second, rounding=NEGLIGIBLE * traces)
    if distance < -ROUNDING * traces:
        raise ValueError(f"the Frechet distance came out negative beyond rounding. Received: distance={distance}")
    return max(distance, 0.0)


def frechet_estimate(
    sample: NDArray[np.floating], reference: Statistics | NDArray[np.floating], *, blocks: int = jackknife.BLOCKS
) -> FrechetEstimate:
    """Returns a sample's distance to a reference with its error, and without the bias of few images.

    The bias falls with one over the count. As in FID-infinity (Chong and Forsyth 2020,
    https://arxiv.org/abs/1911.07023) distances of fewer images tell how large it is; here these are the jackknife's,
    which leave a tenth of the images out in turn, and serve the error too.

    Args:
        sample: Features [N, D], in any order.
        reference: Statistics, whose own bias stays in, or features [M, D] of which as large a share is left out.
        blocks: Disjoint parts of the sample, at least two.

    Raises:
        ValueError: Features are not finite or not two-dimensional, fewer than two, or of another width.
    """
    if isinstance(reference, Statistics):
        whole, blocks = reference, min(blocks, len(sample))
    else:
        whole, blocks = Statistics.of([reference]), min(blocks, len(sample), len(reference))
    value = frechet_distance(Statistics.of([sample]), whole)
    if blocks < jackknife.FEWEST:
        return FrechetEstimate(value)
    samples = Statistics.without_each(jackknife.blocks(sample, blocks))
    others: Iterable[Statistics] = [whole] * blocks
    if not isinstance(reference, Statistics):
        others = Statistics.without_each(jackknife.blocks(reference, blocks, sample=1))
    partial = np.array([frechet_distance(one, other) for one, other in zip(samples, others, strict=True)])
    sizes = [len(sample)] if isinstance(reference, Statistics) else [len(sample), len(reference)]
    enough = min(size - -(-size // blocks) for size in sizes) > sample.shape[1]
    return FrechetEstimate(value, jackknife.error(partial), jackknife.without_bias(value, partial) if enough else None)


def _root_trace(first: Statistics, second: Statistics, *, rounding: float) -> float:
    """Returns tr (S1 S2)^(1/2), with S = R' R the sum of the singular values of R1 R2', to about a rounding.

    Their squares, the eigenvalues of R2 S1 R2', cost a third. But to take roots magnifies the rounding of those that
    are nearly zero (6e-8 in place of 1e-10 on Fashion-MNIST's pixels), so it is reckoned what that may come to. Where
    there are fewer images than features, most are zero, and R is small.
    """
    if first.factor is None and second.factor is None:
        squares = np.linalg.eigvalsh(second.root @ first.covariance @ second.root.T)
        if squares[0] > 0:
            roots = np.sqrt(squares)
            if np.finfo(np.float64).eps * squares[-1] * (0.5 / roots).sum() < rounding:
                return float(roots.sum())
    return float(np.linalg.svd(first.root @ second.root.T, compute_uv=False).sum())


def expected_distance(statistics: Statistics, *, first: int, second: int) -> float:
    """Returns the distance to be expected of two samples of one Gaussian, which is not zero.

    To first order in one over the counts, so for counts well above the number of features. With the eigenvalues l of
    the covariance S it is (1/n1 + 1/n2) (tr S + 1/2 sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)).

    Args:
        statistics: Of the distribution, from as many images as there are.
        first: Images in the one sample.
        second: Images in the other.
    """
    eigenvalues = np.clip(np.linalg.eigvalsh(statistics.covariance), 0.0, None)
    sums = eigenvalues[:, None] + eigenvalues
    products = np.outer(eigenvalues, eigenvalues) * (1.0 + np.eye(len(eigenvalues)))
    pairs = np.divide(products, sums, out=np.zeros_like(sums), where=sums > 0)
    return float((1.0 / first + 1.0 / second) * (eigenvalues.sum() + pairs.sum() / 2.0))
