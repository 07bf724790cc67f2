"""What the pixels of a set of images tell, a batch at a time, and what those of two sets tell of each other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from etils import epy

from ganlib.data.fingerprints import fingerprint

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


MIN_DIFFERENCE = 0.05  # difference of two sets' shares of grey images, or of a file format, that scores will see


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
        self.identical = True
        self.size: tuple[int, ...] | None = None
        self._digest = hashlib.sha256()
        self._first: NDArray[np.uint8] | None = None
        self._fingerprints = bytearray()

    def add(self, batch: NDArray[np.uint8]) -> None:
        """Takes in uint8 [n, H, W, C]."""
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
        """Hash of all pixels in their order."""
        return self._digest.hexdigest()

    @property
    def size_text(self) -> str:
        """Height and width as people read them."""
        return "x".join(map(str, self.size or ()))

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """A short hash of each image's pixels [N]."""
        return np.frombuffer(bytes(self._fingerprints), np.uint64)

    def count_shared(self, other: Tally) -> int:
        """Counts the images that are also among those of another set, pixel for pixel."""
        return int(np.isin(self.fingerprints, other.fingerprints).sum()) if self.size == other.size else 0


def differences(first: Tally, second: Tally) -> list[str]:
    """Returns what two sets of images are unlike in, or too much alike, beside what they show."""
    notes = []
    if first.sha256 == second.sha256:
        notes.append("Both sets are the same images.")
    elif common := first.count_shared(second):
        notes.append(f"{common} of the first {first.count} images are among the second ones too, pixel for pixel.")
    if first.size != second.size:
        notes.append(size_note(first.size_text, second.size_text))
    shares = [tally.grey / tally.count for tally in (first, second)]
    if abs(shares[0] - shares[1]) > MIN_DIFFERENCE:
        told = " and ".join(f"{share:.0%}" for share in shares)
        notes.append(f"Without colour are {told} of the images: the scores see that difference too.")
    return notes


def size_note(first: str, second: str) -> str:
    """Returns the sentence on images of two sizes, such as `28x28` and `32x32`."""
    return f"The images are of two sizes, {first} and {second}: the scores see the difference in sharpness too."
