"""The built-in data set: 1,797 real handwritten digits of 8x8 pixels, which come with scikit-learn."""

from __future__ import annotations

from typing import Literal

from etils import epy

from ganlib.data.base import DataSource, Entry, Listing
from ganlib.data.locations import Pixels
from ganlib.data.pairs import TwoFiles

with epy.lazy_imports():
    import numpy as np
    from sklearn import datasets

TEST_EVERY = 5
FULL_INK = 16  # the scale of the source: each pixel counts the dark points, 0 to 16, of a finer scan


class Digits(DataSource):
    """Labelled handwritten digits of 43 people (Alpaydin and Kaynak, UCI 1998). No download is needed.

    Every fifth image is held out for testing: 1,437 images to train on, 360 to test.
    """

    kind: Literal["digits"] = "digits"
    target: Literal["none", "striped_negative"] = "none"
    """Target of each digit, for translation: none, or its negative, in which every second column is half as bright."""

    def listing(self) -> Listing:
        """Lists the digits."""
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
        classes = tuple("0123456789")
        if self.target == "none":
            return Listing(entries, classes, lambda index: Pixels(pixels[index]))
        targets = 255 - pixels
        targets[:, :, 1::2] //= 2
        return Listing(
            entries, classes, lambda index: TwoFiles(Pixels(pixels[index]), Pixels(targets[index])), paired=True
        )
