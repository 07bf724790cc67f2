"""Mean and covariance of features, accumulated in float64."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.evaluation import npz

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    Float = TypeVar("Float", bound=np.floating)

ROWS = 1024  # minimum number of features that are multiplied at the same time
ROUNDING = 1e-4  # of a covariance, relative to its largest value: some tools store less precise numbers
LARGEST = 3e38  # of float32, the type of features
ARRAYS = ("mu", "sigma", "count", "factor", "space")


@dataclass(frozen=True)
class Statistics:
    """Count, mean and covariance of features (Chan, Golub, LeVeque 1983 for the merge).

    Attributes:
        mean: float64 [D].
        covariance: float64 [D, D], unbiased.
        count: Number of feature vectors; None if it is unknown, as in files of some tools.
        factor: float64 [R, D] with R < D and `factor.T @ factor` equal to the covariance, if there are so few features.
        space: Identity of the feature space, if it is known.

    Raises:
        ValueError: The shapes do not match, or there are infinite or NaN values.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int | None = None
    factor: NDArray[np.float64] | None = None
    space: str | None = None

    def __post_init__(self) -> None:
        mean, covariance, factor = self.mean, self.covariance, self.factor
        if mean.ndim != 1 or not mean.size or covariance.shape != (mean.size, mean.size):
            shapes = f"mu={mean.shape}, sigma={covariance.shape}"
            raise ValueError(f"expected mu of shape [D] and sigma of shape [D, D]. Received: {shapes}")
        if factor is not None and (factor.ndim != 2 or factor.shape[1] != mean.size):
            raise ValueError(f"expected factor of shape [R, {mean.size}]. Received: factor={factor.shape}")
        arrays = [array for array in (mean, covariance, factor) if array is not None]
        if not all(array.min(initial=0.0) >= -LARGEST and array.max(initial=0.0) <= LARGEST for array in arrays):
            raise ValueError("expected finite statistics. Received: infinite or NaN values")

    @classmethod
    def of(cls, batches: Iterable[NDArray[np.floating]]) -> Statistics:
        """Accumulates batches of features [n, D] of any float type.

        Raises:
            ValueError: The features are not finite, not two-dimensional, or fewer than two.
        """
        total: _Sums | None = None
        for rows in join_batches(map(_check, batches), least=ROWS):
            part = _Sums.of(rows)
            total = part if total is None else total.merge(part)
        if total is None or total.count < 2:
            raise ValueError(f"expected at least 2 feature vectors. Received: {0 if total is None else total.count}")
        return total.statistics()

    @classmethod
    def without_each(cls, blocks: Sequence[NDArray[np.floating]]) -> Iterator[Statistics]:
        """Yields the statistics of all blocks of features [n, D] but one, for each block in turn.

        They come one at a time, because all their matrices together would need too much memory. Each block is
        subtracted from the total. Only if few features remain, they are summed again, because they form the factor.
        """
        parts = [_check(block) for block in blocks]
        total = functools.reduce(_Sums.merge, map(_Sums.of, parts))
        for number, block in enumerate(parts):
            if total.count - len(block) < len(total.mean):
                yield cls.of(parts[:number] + parts[number + 1 :])
            else:
                yield total.without(_Sums.of(block)).statistics()

    def merge(self, other: Statistics) -> Statistics:
        """Returns the statistics of both sets of features together.

        Raises:
            ValueError: The number of features of one of them is unknown.
        """
        if self.count is None or other.count is None:
            raise ValueError(f"expected statistics with their counts. Received: {self.count} and {other.count}")
        merged = _Sums.from_statistics(self, self.count).merge(_Sums.from_statistics(other, other.count)).statistics()
        return replace(merged, space=self.space)

    @functools.cached_property
    def root(self) -> NDArray[np.float64]:
        """A matrix [R, D] whose product with itself, `root.T @ root`, is the covariance."""
        if self.factor is not None:
            return self.factor
        try:
            return np.asarray(np.linalg.cholesky(self.covariance), np.float64).T
        except np.linalg.LinAlgError:  # singular: some features are constant, or depend on others
            eigenvalues, vectors = np.linalg.eigh(self.covariance)
            if eigenvalues[0] < -ROUNDING * eigenvalues[-1]:
                received = f"{eigenvalues[0]:.3g} to {eigenvalues[-1]:.3g}"
                raise ValueError(f"expected a covariance without negative eigenvalues. Received: {received}") from None
            scales: NDArray[np.float64] = np.sqrt(np.clip(eigenvalues, 0.0, None))
            return scales[:, None] * vectors.T

    def save(self, path: Path) -> None:
        """Writes an npz file atomically, with `mu` and `sigma` as other tools expect them."""
        count = {} if self.count is None else {"count": np.array(self.count)}
        factor = {} if self.factor is None else {"factor": self.factor}
        space = {} if self.space is None else {"space": np.array(self.space)}
        with storage.atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, mu=self.mean, sigma=self.covariance, **count, **factor, **space)

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Reads what `save` wrote, or another tool's npz file with `mu` [D] and `sigma` [D, D].

        Raises:
            ValueError: The file contains no such statistics.
        """
        arrays = npz.read(path, ARRAYS)
        if not {"mu", "sigma"} <= arrays.keys():
            raise ValueError(f"expected the arrays mu and sigma. Received: path={str(path)!r} without them")
        try:
            return _from_arrays(**arrays)
        except ValueError as error:
            raise ValueError(f"{error} in path={str(path)!r}") from error


@dataclass(frozen=True)
class _Sums:
    """Unscaled statistics: the sum of outer products of the centred features, and these themselves if they are few."""

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]
    factor: NDArray[np.float64] | None

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> _Sums:
        mean = rows.mean(axis=0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred, centred if len(rows) < rows.shape[1] else None)

    @classmethod
    def from_statistics(cls, statistics: Statistics, count: int) -> _Sums:
        """The inverse of `statistics`."""
        degrees, factor = count - 1, statistics.factor
        scaled = None if factor is None else factor * np.sqrt(degrees)
        return cls(count, statistics.mean, statistics.covariance * degrees, scaled)

    def merge(self, other: _Sums) -> _Sums:
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        weight = self.count * other.count / count
        scatter = self.scatter + other.scatter
        scatter += np.outer(shift * weight, shift)
        factor = None
        if self.factor is not None and other.factor is not None:
            rows = np.concatenate([self.factor, other.factor, np.sqrt(weight) * shift[None]])
            factor = rows if len(rows) < len(mean) else None
        return _Sums(count, mean, scatter, factor)

    def without(self, part: _Sums) -> _Sums:
        """The inverse of `merge`, but without a factor."""
        count = self.count - part.count
        shift = part.mean - self.mean
        mean = self.mean - shift * (part.count / count)
        scatter = self.scatter - part.scatter
        scatter -= np.outer(shift * (part.count * self.count / count), shift)
        return _Sums(count, mean, scatter, None)

    def statistics(self) -> Statistics:
        degrees = self.count - 1
        factor = None if self.factor is None else self.factor / np.sqrt(degrees)
        return Statistics(self.mean, self.scatter / degrees, self.count, factor)


def _from_arrays(
    mu: NDArray[Any],
    sigma: NDArray[Any],
    count: NDArray[Any] | None = None,
    factor: NDArray[Any] | None = None,
    space: NDArray[Any] | None = None,
) -> Statistics:
    """Checks the arrays of a file and builds the statistics."""
    for name, array in {"mu": mu, "sigma": sigma, "factor": factor}.items():
        if array is not None and array.dtype.kind not in "fiu":
            raise ValueError(f"expected real numbers as {name}. Received: dtype={array.dtype}")
    if count is not None and (count.shape or count.dtype.kind not in "iu" or count < 2):
        raise ValueError(f"expected a count of at least 2. Received: count={count}")
    statistics = Statistics(
        mu.astype(np.float64),
        sigma.astype(np.float64),
        None if count is None else int(count),
        None if factor is None else factor.astype(np.float64),
        None if space is None else str(space),
    )
    covariance = statistics.covariance
    asymmetry = np.abs(covariance - covariance.T).max()
    if asymmetry > ROUNDING * np.abs(covariance).max():
        raise ValueError(f"expected a symmetric sigma. Received: values that differ by {asymmetry:.3g}")
    root = statistics.root  # raises an error if this is no covariance, before all images are read
    if factor is not None and not np.isclose((root**2).sum(), covariance.trace(), rtol=ROUNDING):
        raise ValueError("expected a factor of sigma. Received: a factor of another matrix")
    return statistics


def join_batches(batches: Iterable[NDArray[Float]], *, least: int) -> Iterator[NDArray[Float]]:
    """Joins batches [n, D] into larger ones, because one large matrix product is faster than many small ones.

    Args:
        batches: The batches.
        least: Minimum number of rows of a joined batch, except for the last one; at least D are joined in any case.
    """
    pending: list[NDArray[Float]] = []
    for batch in batches:
        pending.append(batch)
        if sum(map(len, pending)) >= max(least, batch.shape[1]):
            yield np.concatenate(pending)
            pending = []
    if pending:
        yield np.concatenate(pending)


def comparable(
    first: NDArray[np.floating], second: NDArray[np.floating], *, least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns two samples of features, [N, D] and [M, D], in float64.

    Args:
        first: Features of any float type.
        second: Other features of the same space.
        least: Minimum number of each.

    Raises:
        ValueError: Features are not finite or not two-dimensional, differ in width, or are fewer than `least`.
    """
    first, second = _check(first), _check(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"expected features of one width. Received: {first.shape[1]} and {second.shape[1]}")
    if min(len(first), len(second)) < least:
        raise ValueError(f"expected at least {least} feature vectors. Received: {len(first)} and {len(second)}")
    return first, second


def _check(features: NDArray[np.floating]) -> NDArray[np.float64]:
    if features.ndim != 2:
        raise ValueError(f"expected features of shape [n, D]. Received: shape={features.shape}")
    if not np.isfinite(features).all():
        raise ValueError("expected finite features. Received: infinite or NaN values")
    return features.astype(np.float64, copy=False)
