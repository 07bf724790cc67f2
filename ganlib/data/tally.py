"""Statistics of the pixels of a set of images, and notes on the differences between two sets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from etils import epy

from ganlib.data.fingerprints import fingerprint

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


MIN_DIFFERENCE = 0.05  # smallest difference between two shares, of grey images or a file format, that affects scores


class Tally:
    """Statistics of images of one size, added batch by batch.

    Attributes:
        count: Number of images.
        grey: Number of images without colour.
        identical: Whether all images are the same.
        size: Height and width; None before the first batch.
    """

    def __init__(self) -> None:
        self.count = self.grey = 0
        self.identical = True
        self.size: tuple[int, ...] | None = None
        self._digest = hashlib.sha256()
        self._first: NDArray[np.uint8] | None = None
        self._fingerprints = bytearray()

    def add(self, batch: NDArray[np.uint8]) -> None:
        """Adds a batch, uint8 [n, H, W, C]."""
        self._first = batch[0] if self._first is None else self._first
        self.size = batch.shape[1:3]
        self.count += len(batch)
        self.grey += int((batch == batch[..., :1]).all(axis=(1, 2, 3)).sum())
        self.identical = self.identical and bool((batch == self._first).all())
        for image in np.ascontiguousarray(batch):
            self._digest.update(image)
            self._fingerprints += fingerprint(image.tobytes())

    @property
    def sha256(self) -> str:
        """Hash of all pixels in order."""
        return self._digest.hexdigest()

    @property
    def size_text(self) -> str:
        """Height and width as text, such as `28x28`."""
        return "x".join(map(str, self.size or ()))

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """A short hash of each image's pixels, uint64 [N]."""
        return np.frombuffer(bytes(self._fingerprints), np.uint64)

    def count_shared(self, other: Tally) -> int:
        """Counts the images that are also in another set, pixel for pixel."""
        return int(np.isin(self.fingerprints, other.fingerprints).sum()) if self.size == other.size else 0


def differences(first: Tally, second: Tally) -> list[str]:
    """Returns notes on differences between two sets of images besides their content, and on images that they share."""
    notes = []
    if first.sha256 == second.sha256:
        notes.append("Both sets are the same images.")
    elif common := first.count_shared(second):
        notes.append(f"{common} of the {first.count} images of the first set are also in the second, pixel for pixel.")
    if first.size != second.size:
        notes.append(size_note(first.size_text, second.size_text))
    shares = [tally.grey / tally.count for tally in (first, second)]
    if abs(shares[0] - shares[1]) > MIN_DIFFERENCE:
        both = " and ".join(f"{share:.0%}" for share in shares)
        notes.append(f"{both} of the images have no colour: this difference affects the scores too.")
    return notes


def size_note(first: str, second: str) -> str:
    """Returns the note on images of two sizes, such as `28x28` and `32x32`."""
    return f"The images have two sizes, {first} and {second}: the difference in sharpness affects the scores too."
