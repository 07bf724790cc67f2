"""The jackknife over disjoint blocks of random rows (Quenouille 1949, Tukey 1958): standard error and bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib import streams

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    Float = TypeVar("Float", bound=np.floating)

BLOCKS = 10
FEWEST = 3  # minimum number of rows: a sample without one of them still needs two


def blocks(rows: NDArray[Float], count: int, *, sample: int = 0) -> list[NDArray[Float]]:
    """Returns disjoint blocks of the rows.

    The rows are drawn at random: if they are sorted by class, or alternate between classes, consecutive blocks would
    differ more, or less, than random ones.

    Args:
        rows: Features [N, D].
        count: Number of blocks.
        sample: Number of the sample, so that two samples are divided differently.
    """
    order = np.random.default_rng(streams.key("jackknife", sample)).permutation(len(rows))
    return [rows[part] for part in np.array_split(order, count)]


def error(partial: NDArray[np.float64]) -> float:
    """Returns the standard error from the values [B] without each block."""
    blocks = len(partial)
    return float(np.sqrt((blocks - 1) / blocks * ((partial - partial.mean()) ** 2).sum()))


def without_bias(value: float, partial: NDArray[np.float64]) -> float:
    """Returns a value without its bias of order 1/count, from the values [B] without each block."""
    blocks = len(partial)
    return float(blocks * value - (blocks - 1) * partial.mean())
