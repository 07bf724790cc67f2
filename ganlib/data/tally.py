"""What the pixels of a set of images tell, a batch at a time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tally:
    """Facts of all images of one size that were added.

    Attributes:
        count: How many there are.
        grey: How many of them show no colour.
        still: Whether all are the same picture.
        size: Height and width; None before the first.
    """

    def __init__(self) -> None:
        self.count = self.grey = 0
        self.still = True
        self.size: tuple[int, ...] | None = None
        self._digest = hashlib.sha256()
        self._first: NDArray[np.uint8] | None = None

    def add(self, batch: NDArray[np.uint8]) -> None:
        """Takes in uint8 [n, H, W, C]."""
        self._first = batch[0] if self._first is None else self._first
        self.size = batch.shape[1:3]
        self.count += len(batch)
        self.grey += int((batch == batch[..., :1]).all(axis=(1, 2, 3)).sum())
        self.still = self.still and bool((batch == self._first).all())
        self._digest.update(np.ascontiguousarray(batch).tobytes())

    @property
    def sha256(self) -> str:
        """Hash of all pixels in their order."""
        return self._digest.hexdigest()
