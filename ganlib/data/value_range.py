"""The range of values that is scaled to 0..255: one range for a whole set of images, never one per image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

Kind = Literal["integers", "floats"]

DEPTHS = (8, 10, 12, 14, *range(16, 33))  # usual numbers of bits of unsigned images
SIGNED = ((-128, 127), (-512, 511), (-1024, 3071), (-2048, 2047), (-8192, 8191))  # CT scans have -1024..3071
FRACTIONS = ((0.0, 1.0), (-1.0, 1.0))  # of floating-point images
SLACK = 0.1  # overshoot allowed beyond these, as resizing produces it: a value of 1.02 does not mean 0..255
FEWEST_LEVELS = 16  # of 256 that floating-point images must use; others, such as metres, have no usual range
HEAD = 4096  # first bytes of a PNG file, where its chunk sBIT is
RANGES = (
    *((0, 2**bits - 1) for bits in DEPTHS if bits <= 16),
    *SIGNED,
    *((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in DEPTHS if bits == 16),
    *((0, 2**bits - 1) for bits in DEPTHS if bits > 16),
    *((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in DEPTHS if bits > 16),
)
UNSIGNED = ("I;32", "I;32B", "I;32N")  # layouts of unsigned 32 bits in TIFF files, which Pillow reads as signed
EXACT = 2**53  # a float64 above this cannot represent every integer
PPM_FULL = 65535  # Pillow scales a PGM file of more than 8 bits to this


class ValueRange(NamedTuple):
    """The values that become 0 and 255.

    Attributes:
        low: The value that becomes 0. Lower values are clipped.
        high: The value that becomes 255. Higher values are clipped.
        of: The images that the range applies to: those with integers of more than 8 bits, or those with floating-point
            numbers. None means all images, also those of 8 bits; this is the case for a configured range.
    """

    low: float
    high: float
    of: Kind | None = None

    @classmethod
    def usual(cls, low: float, high: float, kind: Kind) -> ValueRange | None:
        """Returns the smallest usual range that contains some values: 10, 12, 14 or more bits, 0..1, -1..1, CT.

        Returns None if no usual range fits.
        """
        if kind == "floats":
            for least, most in FRACTIONS:
                if least - SLACK <= low and high <= most + SLACK:
                    return cls(least, most, kind)
        for least, most in RANGES:
            if least <= low and high <= most:
                few = kind == "floats" and 256 * (high - low) < FEWEST_LEVELS * (most - least)
                return None if few else cls(float(least), float(most), kind)
        return None

    @property
    def text(self) -> str:
        """The range as text, such as `0..4095`."""
        return f"{number(self.low)}..{number(self.high)}"

    @property
    def span(self) -> float:
        """The difference between its ends."""
        return self.high - self.low

    @property
    def remark(self) -> str:
        """The remark on an image that was scaled by this range."""
        return f"values {self.text}: scaled to 0..255"

    def original(self, value: float) -> float:
        """Returns the original value that corresponds to a value of 0..255."""
        return self.low + value * self.span / 255

    def scale(self, values: NDArray[np.generic]) -> tuple[NDArray[np.uint8], bool]:
        """Scales values of the range to 0..255.

        Args:
            values: Finite numbers of any shape.

        Returns:
            uint8 of the same shape, and whether some values were outside of the range.
        """
        numbers = values.astype(np.float64)
        outside = bool(numbers.size) and (numbers.min() < self.low or numbers.max() > self.high)
        # Multiply before dividing, so that multiples of 257 in 16 bits give exact integers.
        share = (np.clip(numbers, self.low, self.high) - self.low) * 255 / self.span
        return np.rint(share).astype(np.uint8), bool(outside)


def number(value: float) -> str:
    """Returns a number as text; integers have no decimal point unless they are very large."""
    return str(int(value)) if float(value).is_integer() and abs(value) < EXACT else f"{value:.4g}"


def kind_of(source: Image.Image | NDArray[np.generic]) -> Kind | None:
    """Returns the kind of numbers of an image of more than 8 bits, from its mode alone; None for 8 bits or fewer."""
    # Called for every image, so it avoids `isinstance`, whose lookup in a lazy module takes longer.
    mode: str | None = getattr(source, "mode", None)
    if mode is None:
        return "floats" if cast("NDArray[np.generic]", source).dtype.kind == "f" else "integers"
    return "floats" if mode == "F" else "integers" if mode.startswith("I") else None


def pixel_layout(image: Image.Image) -> tuple[str, float | None]:
    """Returns how Pillow will decode a file: the name of the pixel layout, and the full scale.

    The full scale is the `maxval` of a PGM or PPM file, by which Pillow scales the values; None for other formats.
    """
    tiles = getattr(image, "tile", None)
    if not tiles:
        return "", None
    tile = tiles[0]
    decoder, details = tile[0], tile[-1]
    details = details if isinstance(details, tuple) else (details,)
    full = float(details[1]) if decoder.startswith("ppm") else None
    return str(details[0]) if details else "", full


def file_values(
    source: Image.Image | NDArray[np.generic], full: float | None, *, unsigned: bool = False
) -> NDArray[np.generic]:
    """Returns the values of an image of more than 8 bits as they are stored in its file.

    Args:
        source: The image.
        full: The full scale that `pixel_layout` returned, used to undo Pillow's scaling.
        unsigned: Whether the file has unsigned values, so that negative ones from Pillow are really the largest.
    """
    values: NDArray[np.generic] = np.asarray(source)
    if unsigned:
        return values.view(np.uint32)
    if full is None or full == PPM_FULL:
        return values
    return np.rint(values.astype(np.float64) * full / PPM_FULL)


def declared_limits(image: Image.Image) -> list[float]:
    """Returns the lowest and highest values that a file of more than 8 bits declares, as far as it does.

    TIFF files have tags for both. The maximum follows from the bits of a TIFF file of less than 16 bits, from the
    header of a PGM file, and from the chunk `sBIT` of a PNG file.
    """
    limits = [pixel_layout(image)[1]]
    tags = getattr(image, "tag_v2", {})
    for name in (280, 281, 340, 341):  # MinSampleValue, MaxSampleValue, SMinSampleValue, SMaxSampleValue
        value = tags.get(name)
        limits.append(value[0] if isinstance(value, tuple) else value)
    bits = tags.get(258, (16,))[0]  # BitsPerSample
    limits.append(2.0**bits - 1 if 8 < bits < 16 else None)
    limits.append(_significant_maximum(image))
    return [float(value) for value in limits if isinstance(value, int | float) and math.isfinite(value)]


def _significant_maximum(image: Image.Image) -> float | None:
    """Returns the maximum that fits in the significant bits that a PNG file declares."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return None
    position = file.tell()
    file.seek(0)
    head: bytes = file.read(HEAD)
    file.seek(position)
    place = head.find(b"sBIT", 0, head.find(b"IDAT") + 1)
    return None if place < 0 else 2.0 ** head[place + 4] - 1
