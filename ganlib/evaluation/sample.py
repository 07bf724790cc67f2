"""Images as an extractor sees them."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import storage

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

    def take(self, rows: slice | NDArray[np.bool_]) -> Sample:
        """Returns some of the images."""
        arrays = (self.features, self.probabilities, self.labels)
        return Sample(*(None if array is None else array[rows] for array in arrays))  # type: ignore[arg-type]  # one by one

    def first(self, count: int) -> Sample:
        """Returns the first so many images, or all."""
        return self.take(slice(count))

    def save(self, path: Path) -> None:
        """Writes an npz file that is whole or absent."""
        arrays = {name: array for name, array in vars(self).items() if array is not None}
        with storage.whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Sample:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file is absent or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in file.files})
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"expected the features of images. Received: path={str(path)!r} ({error})") from error
