"""Features of images, as an extractor computes them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import storage, streams
from ganlib.evaluation import npz

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """Features, class probabilities and labels of images.

    Attributes:
        features: float32 [N, D].
        probabilities: float32 [N, K], class probabilities of the extractor; None if they are not stored.
        labels: int64 [N], class of each real image, or the class that was requested for a generated one; None without
            labels.
    """

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Sample:
        """Returns some of the rows."""
        arrays = (self.features, self.probabilities, self.labels)
        return Sample(*(None if array is None else array[rows] for array in arrays))  # type: ignore[arg-type]  # one by one

    def first(self, count: int) -> Sample:
        """Returns the first `count` rows, or all if there are fewer."""
        return self.take(slice(count))

    def draw(self, count: int, *, start: int = 0) -> Sample:
        """Returns `count` random rows, always the same ones, or all if there are fewer; see `draw_rows`."""
        return self.take(draw_rows(len(self), count, start=start))

    def save(self, path: Path) -> None:
        """Writes an npz file atomically."""
        arrays = {name: array for name, array in vars(self).items() if array is not None}
        with storage.atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Sample:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file is missing, damaged, or has other content.
        """
        arrays = npz.read(path, tuple(field.name for field in fields(cls)))
        if "features" not in arrays or len({array.shape[:1] for array in arrays.values()}) != 1:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ValueError(f"expected features with one row for each image. Received: {shapes} in path={str(path)!r}")
        sample = cls(**arrays)
        if sample.features.ndim != 2 or len(sample) < 2 or not np.isfinite(sample.features).all():
            raise ValueError(
                "expected at least 2 finite feature vectors. "
                f"Received: shape={sample.features.shape} in path={str(path)!r}"
            )
        return sample


def draw_rows(rows: int, count: int, *, start: int = 0) -> NDArray[np.int64]:
    """Draws rows at random, always the same ones. The first rows of a folder might all have one class.

    Args:
        rows: Number of rows.
        count: Number of rows to draw; all if there are fewer.
        start: Rows of the random order to skip first, for a draw that does not overlap with another.

    Returns:
        Sorted indices, int64.
    """
    order = np.random.default_rng(streams.key("rows")).permutation(rows)
    return np.sort(order[start : start + count])
