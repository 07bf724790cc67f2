"""The embedded images: 1,797 real handwritten digits, 8x8 pixels, that come inside scikit-learn."""

from __future__ import annotations

from typing import Literal

from etils import epy

from ganlib.data.base import DataSource, Entry, Listing
from ganlib.data.locations import Pixels

with epy.lazy_imports():
    import numpy as np
    from sklearn import datasets

TEST_EVERY = 5
FULL_INK = 16  # the source's own scale: each pixel counts 0 to 16 dark points of a finer scan


class Digits(DataSource):
    """Handwritten digits of 43 people (Alpaydin and Kaynak, UCI 1998), with labels, no network.

    Every fifth image is held out for testing: 1,437 to train on, 360 to test.
    """

    kind: Literal["digits"] = "digits"

    def listing(self) -> Listing:
        """Names the digits; see the base class."""
        bunch = datasets.load_digits()
        pixels = np.rint(bunch.images * (255 / FULL_INK)).astype(np.uint8)  # uint8 [1797, 8, 8]
        entries = [
            Entry(
                name=f"digit-{index:04d}",
                split="test" if index % TEST_EVERY == 0 else "train",
                label=int(label),
                size=pixels[index].nbytes,
            )
            for index, label in enumerate(bunch.target)
        ]
        return Listing(entries, tuple("0123456789"), lambda index: Pixels(pixels[index]))
