"""The range of values of a whole set of images, found from some of them before any is prepared.

The images that are looked at are the same for whoever asks, so that all parts of a preparation use one range without
a word between them, and none reads more than these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from etils import epy

from ganlib import streams
from ganlib.data.base import Listing
from ganlib.data.image_chunks import read_error
from ganlib.data.loading import UnusableImageError, values_of
from ganlib.data.value_range import Kind, ValueRange, number
from ganlib.remote.file import RemoteError

with epy.lazy_imports():
    import numpy as np

SAMPLE_SIZE = 512  # images; those of 8 bits are opened but not decoded
FEW = 0.05  # share of images whose values may be far from all others', at least one: a hot pixel, a burnt-in text
ENOUGH = 10  # images of which one is few
FAR = 4  # times the range of the others
THREADS = 16  # so that images of a bucket do not wait for each other


class Survey(NamedTuple):
    """What some images of a set tell of all.

    Attributes:
        values: The range of the images of more than 8 bits, None if there are none; or that of the settings.
        deep: How many of those that were looked at have more than 8 bits.
        sampled: How many were looked at; none where the settings name the range.
        most: The range that all but a few of them have, if it is much smaller.
        beyond: How many these few are.
        ends: The lowest and the highest value of those with more than 8 bits.
    """

    values: ValueRange | None
    deep: int
    sampled: int
    most: ValueRange | None = None
    beyond: int = 0
    ends: tuple[float, float] = (0.0, 0.0)

    @property
    def text(self) -> str:
        """The range of values in words, for people."""
        if self.values is None and self.deep:
            least, most = map(number, self.ends)
            return f"values {least}..{most} of {self.deep} images fit no usual range: set data.value_range{self._few}"
        if self.values is None:
            return "values 0..255"
        if self.values.of is None:
            return f"values {self.values.text}, as data.value_range says, become 0..255"
        found = f"{self.deep} of {self.sampled} images" if self.deep < self.sampled else "images"
        eight = "; those of 8 bits stay as they are" if self.deep < self.sampled else ""
        return f"values {self.values.text} of {found} with more than 8 bits become 0..255{eight}{self._few}"

    @property
    def _few(self) -> str:
        if self.most is None:
            return ""
        told = f"; all but {self.beyond} hold {self.most.text}"
        if self.deep < self.sampled:  # the setting would hold for images of 8 bits too
            return told
        return f"{told}, which data.value_range=[{number(self.most.low)}, {number(self.most.high)}] would spread"


def survey(listing: Listing, given: tuple[float, float] | None = None, *, rows: Sequence[int] | None = None) -> Survey:
    """Finds the range of values of a set of images.

    The range is the smallest usual one (8, 10, 12, 14, 16 or more bits, signed ones, 0..1, -1..1) that holds the values
    of `SAMPLE_SIZE` images, drawn by a fixed seed, and what their files declare. Where images of more than 8 bits hold
    integers in part and floating-point numbers in part, it is that of the larger part.

    Args:
        listing: The set.
        given: The range that the settings name, if they do.
        rows: The images that are meant; absent means all.

    Returns:
        The range and what it was found from.

    Raises:
        RemoteError: A bucket cannot be read.
        ReadError: This machine failed to read an image, or has too little memory.
    """
    if given is not None:
        return Survey(ValueRange(*given), 0, 0)
    chosen = range(len(listing.entries)) if rows is None else rows
    if len(chosen) > SAMPLE_SIZE:
        drawn = np.random.default_rng(streams.key("survey")).choice(len(chosen), SAMPLE_SIZE, replace=False)
        chosen = [chosen[position] for position in sorted(drawn.tolist())]

    def values(row: int) -> tuple[Kind, float, float] | None:
        stored = listing.locate(row)
        try:
            return values_of(stored.open)
        except UnusableImageError:  # whoever prepares it says so
            return None
        except RemoteError:
            raise
        except (OSError, MemoryError) as error:
            raise read_error(stored, error) from error

    with ThreadPoolExecutor(THREADS) as pool:
        found = [facts for facts in pool.map(values, chosen) if facts is not None]
    return _summary(found, len(chosen))


def _summary(found: Sequence[tuple[Kind, float, float]], sampled: int) -> Survey:
    """Returns what the lowest and highest values of some images tell of all."""
    kinds = Counter(kind for kind, *_ in found)
    if not kinds:
        return Survey(None, 0, sampled)
    kind: Kind = max(sorted(kinds), key=lambda name: (kinds[name], name == "integers"))
    lows = sorted(low for of, low, _ in found if of == kind)
    highs = sorted(high for of, _, high in found if of == kind)
    values_of_all, most = ValueRange.usual(lows[0], highs[-1], kind), _without_few(lows, highs, kind)
    if most is None or (values_of_all is not None and values_of_all.span < FAR * most.span):
        return Survey(values_of_all, len(found), sampled, ends=(lows[0], highs[-1]))
    beyond = sum(of == kind and (low < most.low or high > most.high) for of, low, high in found)
    return Survey(values_of_all, len(found), sampled, most, beyond, (lows[0], highs[-1]))


def _without_few(lows: list[float], highs: list[float], kind: Kind) -> ValueRange | None:
    """Returns the usual range of images but for few of them, if there is one.

    Args:
        lows: The lowest values of the images, in order.
        highs: The highest ones, in order.
        kind: What numbers they are.
    """
    if len(lows) < ENOUGH:
        return None
    few = max(1, int(FEW * len(lows)))
    return ValueRange.usual(lows[few], highs[-1 - few], kind)
