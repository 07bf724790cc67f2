"""Frechet distance of two Gaussians (Heusel et al. 2017, https://arxiv.org/abs/1706.08500)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.statistics import Statistics

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDING = 1e-6  # relative to the traces: a distance below zero by more than this is an error, not rounding


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """Returns |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    The trace of the root is the sum of the singular values of S1^(1/2) S2^(1/2), each factor taken by
    eigenvalues. Their squares are the eigenvalues of S1^(1/2) S2 S1^(1/2); to take roots of those would
    magnify the rounding of the many that are nearly zero (6e-8 in place of 1e-10 on Fashion-MNIST's pixels).

    Raises:
        ValueError: The statistics are of different feature spaces, or the result is negative beyond rounding.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"expected features of one width. Received: {first.mean.size} and {second.mean.size}")
    product = _symmetric_root(first.covariance) @ _symmetric_root(second.covariance)
    root_trace = float(np.linalg.svd(product, compute_uv=False).sum())
    traces = float(np.trace(first.covariance) + np.trace(second.covariance))
    shift = first.mean - second.mean
    distance = float(shift @ shift) + traces - 2.0 * root_trace
    if distance < -ROUNDING * traces:
        raise ValueError(f"the Frechet distance came out negative beyond rounding. Received: distance={distance}")
    return max(distance, 0.0)


def _symmetric_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(eigenvalues, 0.0, None))) @ vectors.T
