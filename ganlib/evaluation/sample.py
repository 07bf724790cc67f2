"""Images as an extractor sees them."""

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
    """Features of some images, and what else is known of each.

    Attributes:
        features: float32 [N, D].
        probabilities: float32 [N, K] of the network's own classes; None where they are not kept.
        labels: int64 [N], the class that each image has or was asked for; None without labels.
    """

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Sample:
        """Returns some of the images."""
        arrays = (self.features, self.probabilities, self.labels)
        return Sample(*(None if array is None else array[rows] for array in arrays))  # type: ignore[arg-type]  # one by one

    def first(self, count: int) -> Sample:
        """Returns the first so many images, or all."""
        return self.take(slice(count))

    def drawn(self, count: int, *, start: int = 0) -> Sample:
        """Returns so many of the images, the same ones always, or all; `drawn_rows` tells why not the first ones."""
        return self.take(drawn_rows(len(self), count, start=start))

    def save(self, path: Path) -> None:
        """Writes an npz file that is whole or absent."""
        arrays = {name: array for name, array in vars(self).items() if array is not None}
        with storage.atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Sample:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file is absent, damaged, or holds something else.
        """
        arrays = npz.read(path, tuple(field.name for field in fields(cls)))
        if "features" not in arrays or len({array.shape[:1] for array in arrays.values()}) != 1:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ValueError(f"expected the features of images, a row each. Received: {shapes} in path={str(path)!r}")
        sample = cls(**arrays)
        if sample.features.ndim != 2 or len(sample) < 2 or not np.isfinite(sample.features).all():
            raise ValueError(
                "expected at least 2 finite feature vectors. "
                f"Received: shape={sample.features.shape} in path={str(path)!r}"
            )
        return sample


def drawn_rows(rows: int, count: int, *, start: int = 0) -> NDArray[np.int64]:
    """Draws rows at random, the same ones always: the first ones of a folder may be all of one class.

    Args:
        rows: How many there are.
        count: How many to draw; all where there are no more.
        start: How many of the order to leave out before, for a draw without those of another.
    """
    order = np.random.default_rng(streams.key("rows")).permutation(rows)
    return np.sort(order[start : start + count])
