"""The jackknife over disjoint blocks of random rows (Quenouille 1949, Tukey 1958): errors, and bias removed."""

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
FEWEST = 3  # rows of a sample, of which one may be left out


def blocks(rows: NDArray[Float], count: int, *, sample: int = 0) -> list[NDArray[Float]]:
    """Returns disjoint blocks of the rows.

    Neither classes in order nor classes in turn may make blocks unlike each other, or more alike than chance does, so
    the rows are drawn at random.

    Args:
        rows: Features [N, D].
        count: Number of blocks.
        sample: Number of the sample, so that two samples are not cut alike.
    """
    order = np.random.default_rng(streams.key("jackknife", sample)).permutation(len(rows))
    return [rows[part] for part in np.array_split(order, count)]


def error(partial: NDArray[np.float64]) -> float:
    """Returns the standard error from the values [B] without each block."""
    blocks = len(partial)
    return float(np.sqrt((blocks - 1) / blocks * ((partial - partial.mean()) ** 2).sum()))


def without_bias(value: float, partial: NDArray[np.float64]) -> float:
    """Returns a value freed of a bias that falls with one over the count, from the values [B] without each block."""
    blocks = len(partial)
    return float(blocks * value - (blocks - 1) * partial.mean())
