"""The kernel distance, KID in the canonical space (Binkowski et al. 2018, https://arxiv.org/abs/1801.01401)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures import jackknife
from ganlib.evaluation.statistics import comparable

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIRS = 2**22  # pairs of rows whose kernel is in memory at the same time


def kernel_distance(
    first: NDArray[np.floating], second: NDArray[np.floating], *, blocks: int = jackknife.BLOCKS
) -> tuple[float, float]:
    """Returns the squared maximum mean discrepancy for the kernel (x.y / D + 1)^3, and its standard error.

    The value is the unbiased estimate over all pairs. It may be negative if both samples have the same distribution.
    The error comes from the jackknife over disjoint blocks of random rows, each left out of both samples in turn. With
    ten blocks, it is accurate to about a quarter. For a distance near zero, which depends more on pairs than on single
    images, it is too large by a factor of about the square root of two.

    Args:
        first: Features [N, D], in any order.
        second: Features [M, D].
        blocks: Number of disjoint parts of each sample, at least two; reduced to the number of rows.

    Raises:
        ValueError: Features are not finite or not two-dimensional, fewer than three, or differ in width.
    """
    first, second = comparable(first, second, least=jackknife.FEWEST)
    if blocks < 2:
        raise ValueError(f"expected at least 2 blocks. Received: blocks={blocks}")
    blocks = min(blocks, len(first), len(second))
    samples = [jackknife.blocks(sample, blocks, sample=number) for number, sample in enumerate((first, second))]
    within = [_sums(parts, parts) for parts in samples]
    between = _sums(*samples)
    sizes = [np.array([len(part) for part in parts]) for parts in samples]

    def discrepancy(chosen: NDArray[np.int64]) -> float:
        pairs = np.ix_(chosen, chosen)
        counts = [size[chosen].sum() for size in sizes]
        own = [sums[pairs].sum() / (count * (count - 1)) for sums, count in zip(within, counts, strict=True)]
        return float(sum(own) - 2.0 * between[pairs].sum() / (counts[0] * counts[1]))

    numbers = np.arange(blocks)
    partial = np.array([discrepancy(np.delete(numbers, block)) for block in numbers])
    return discrepancy(numbers), jackknife.error(partial)


def _sums(first: list[NDArray[np.float64]], second: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Returns the sum of the kernel over all pairs of rows for each two parts [blocks, blocks].

    If both lists are the same, the pairs of a row with itself are left out.
    """
    same = first is second
    right, starts = np.concatenate(second), np.cumsum([0, *map(len, second[:-1])])
    sums = np.zeros((len(first), len(second)))
    for row, left in enumerate(first):
        column = row if same else 0  # the matrix is symmetric
        start = starts[column]
        sums[row, column:] = np.add.reduceat(_totals(left, right[start:]), starts[column:] - start)
    if same:
        sums += np.triu(sums, 1).T
        own = [(((part**2).sum(axis=1) / part.shape[1] + 1.0) ** 3).sum() for part in first]
        sums -= np.diag(own)
    return sums


def _totals(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the sum of the kernel over the left rows for each right row [M], from large matrix products."""
    rows, totals = max(1, PAIRS // len(right)), np.zeros(len(right))
    for start in range(0, len(left), rows):
        base = left[start : start + rows] @ right.T
        base /= right.shape[1]
        base += 1.0
        totals += np.einsum("nm,nm,nm->m", base, base, base)  # several times faster than the power
    return totals
