"""Finds the range of values of a whole set of images from a sample of it, before any image is prepared.

The sample is always the same for a listing. So all parts of a preparation find the same range without communicating,
and each reads only the sample.
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
FEW = 0.05  # share of outliers, at least one image: images with a hot pixel or a burnt-in text, for example
ENOUGH = 10  # smallest sample in which outliers are searched
FAR = 4  # outliers make the range at least this many times wider
THREADS = 16  # many, because images of a bucket have a high latency


class Survey(NamedTuple):
    """The range of values of a set of images, estimated from a sample.

    Attributes:
        values: The configured range, or that of the images of more than 8 bits; None if there are none, or no usual
            range contains their values.
        deep: Number of sampled images with more than 8 bits.
        sampled: Number of sampled images; 0 if the range is configured.
        most: The range of all sampled images but a few outliers, if it is much smaller.
        beyond: Number of these outliers.
        ends: The lowest and the highest value of the sampled images with more than 8 bits.
        targets: The survey of the targets, if they are files of their own.
    """

    values: ValueRange | None
    deep: int
    sampled: int
    most: ValueRange | None = None
    beyond: int = 0
    ends: tuple[float, float] = (0.0, 0.0)
    targets: Survey | None = None

    @property
    def target_values(self) -> ValueRange | None:
        """The range of values of the targets, which is that of the images if they are in the same files."""
        return self.values if self.targets is None else self.targets.values

    @property
    def text(self) -> str:
        """The range of values as text for the user."""
        if self.values is None and self.deep:
            least, most = map(number, self.ends)
            return (
                f"values {least}..{most} of {self.deep} images fit no usual range: set data.value_range{self._outliers}"
            )
        if self.values is None:
            return "values 0..255"
        if self.values.of is None:
            return f"values {self.values.text}, as set in data.value_range, become 0..255"
        count = f"{self.deep} of {self.sampled} images" if self.deep < self.sampled else "images"
        eight = "; those of 8 bits stay as they are" if self.deep < self.sampled else ""
        return f"values {self.values.text} of {count} with more than 8 bits become 0..255{eight}{self._outliers}"

    @property
    def _outliers(self) -> str:
        if self.most is None:
            return ""
        text = f"; all but {self.beyond} have {self.most.text}"
        if self.deep < self.sampled:  # the setting would apply to images of 8 bits too
            return text
        return f"{text}, which data.value_range=[{number(self.most.low)}, {number(self.most.high)}] would spread"


def survey(
    listing: Listing, configured: tuple[float, float] | None = None, *, rows: Sequence[int] | None = None
) -> Survey:
    """Finds the range of values of a set of images.

    The range is the smallest usual one (8, 10, 12, 14, 16 or more bits, signed ones, 0..1, -1..1) that contains the
    values of `SAMPLE_SIZE` images, drawn with a fixed seed, and the limits that their files declare. If some images of
    more than 8 bits have integers and others floating-point numbers, the majority decides.

    Args:
        listing: The set.
        configured: The range from the settings, if any.
        rows: Indices of the images to use. Default: all.

    Returns:
        The range and how it was found.

    Raises:
        RemoteError: A bucket cannot be read.
        ReadError: This machine failed to read an image, or has too little memory.
    """
    targets = None if listing.targets is None else survey(listing.targets, configured, rows=rows)
    if configured is not None:
        return Survey(ValueRange(*configured), 0, 0, targets=targets)
    chosen = range(len(listing.entries)) if rows is None else rows
    if len(chosen) > SAMPLE_SIZE:
        drawn = np.random.default_rng(streams.key("survey")).choice(len(chosen), SAMPLE_SIZE, replace=False)
        chosen = [chosen[position] for position in sorted(drawn.tolist())]

    def values(row: int) -> tuple[Kind, float, float] | None:
        location = listing.locate(row)
        try:
            return values_of(location.open)
        except UnusableImageError:  # the preparation reports it
            return None
        except RemoteError:
            raise
        except (OSError, MemoryError) as error:
            raise read_error(location, error) from error

    with ThreadPoolExecutor(THREADS) as pool:
        ranges = [ends for ends in pool.map(values, chosen) if ends is not None]
    return _summary(ranges, len(chosen))._replace(targets=targets)


def _summary(ranges: Sequence[tuple[Kind, float, float]], sampled: int) -> Survey:
    """Estimates the range of a set from the lowest and highest values of the sampled images."""
    kinds = Counter(kind for kind, *_ in ranges)
    if not kinds:
        return Survey(None, 0, sampled)
    kind: Kind = max(sorted(kinds), key=lambda name: (kinds[name], name == "integers"))
    lows = sorted(low for of, low, _ in ranges if of == kind)
    highs = sorted(high for of, _, high in ranges if of == kind)
    values_of_all, most = ValueRange.usual(lows[0], highs[-1], kind), _without_outliers(lows, highs, kind)
    if most is None or (values_of_all is not None and values_of_all.span < FAR * most.span):
        return Survey(values_of_all, len(ranges), sampled, ends=(lows[0], highs[-1]))
    beyond = sum(of == kind and (low < most.low or high > most.high) for of, low, high in ranges)
    return Survey(values_of_all, len(ranges), sampled, most, beyond, (lows[0], highs[-1]))


def _without_outliers(lows: list[float], highs: list[float], kind: Kind) -> ValueRange | None:
    """Returns the usual range of the images without outliers, if there is one.

    Args:
        lows: The lowest value of each image, sorted.
        highs: The highest value of each image, sorted.
        kind: The kind of the values.
    """
    if len(lows) < ENOUGH:
        return None
    few = max(1, int(FEW * len(lows)))
    return ValueRange.usual(lows[few], highs[-1 - few], kind)
