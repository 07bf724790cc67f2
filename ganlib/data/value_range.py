"""Which numbers of the originals become 0 and 255: one range for a whole set of images, never one for each."""

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

DEPTHS = (8, 10, 12, 14, *range(16, 33))  # bits that unsigned images come in
SIGNED = ((-128, 127), (-512, 511), (-1024, 3071), (-2048, 2047), (-8192, 8191))  # CT has -1024..3071
FRACTIONS = ((0.0, 1.0), (-1.0, 1.0))  # of floating-point images
SLACK = 0.1  # that those may exceed a fraction's ends by, as where they were resized: 1.02 does not mean 0..255
FEWEST_LEVELS = 16  # of 256 that floating-point images must fill; what fills less, such as metres, is no usual range
HEAD = 4096  # bytes of a PNG file that its chunk sBIT stands in
RANGES = (
    *((0, 2**bits - 1) for bits in DEPTHS if bits <= 16),
    *SIGNED,
    *((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in DEPTHS if bits == 16),
    *((0, 2**bits - 1) for bits in DEPTHS if bits > 16),
    *((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in DEPTHS if bits > 16),
)
UNSIGNED = ("I;32", "I;32B", "I;32N")  # 32 bits of a TIFF file that Pillow reads as signed ones
EXACT = 2**53  # beyond, the digits of a float64 say more than is known
PPM_FULL = 65535  # Pillow scales a PGM file of more than 8 bits to this


class ValueRange(NamedTuple):
    """The numbers that become 0 and 255.

    Attributes:
        low: What becomes 0, as does what is below.
        high: What becomes 255, as does what is above.
        of: Images that it holds for: those of more than 8 bits that have integers, or floating-point numbers. None
            means all images, of 8 bits too, as where the settings name the range.
    """

    low: float
    high: float
    of: Kind | None = None

    @classmethod
    def usual(cls, low: float, high: float, kind: Kind) -> ValueRange | None:
        """Returns the smallest usual range that holds some values: 10, 12, 14 or more bits, 0..1, -1..1, or of CT.

        None if there is no usual one.
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
        """The range as people read it, such as `0..4095`."""
        return f"{number(self.low)}..{number(self.high)}"

    @property
    def span(self) -> float:
        """How far apart its ends are."""
        return self.high - self.low

    @property
    def remark(self) -> str:
        """What is noted of an image that was read by this range."""
        return f"values {self.text}: scaled to 0..255"

    def original(self, value: float) -> float:
        """Returns the number that became a value of 0..255."""
        return self.low + value * self.span / 255

    def scale(self, values: NDArray[np.generic]) -> tuple[NDArray[np.uint8], bool]:
        """Maps numbers of the range to 0..255.

        Args:
            values: Finite numbers of any shape.

        Returns:
            uint8 of the same shape, and whether some numbers were outside the range.
        """
        numbers = values.astype(np.float64)
        outside = bool(numbers.size) and (numbers.min() < self.low or numbers.max() > self.high)
        # In this order, so that whole steps of 16 bits give whole numbers.
        share = (np.clip(numbers, self.low, self.high) - self.low) * 255 / self.span
        return np.rint(share).astype(np.uint8), bool(outside)


def number(value: float) -> str:
    """Returns a number as text, whole ones without a point unless they are very large."""
    return str(int(value)) if float(value).is_integer() and abs(value) < EXACT else f"{value:.4g}"


def kind_of(source: Image.Image | NDArray[np.generic]) -> Kind | None:
    """Says what numbers an image of more than 8 bits holds, by its mode alone; None means 8 bits or fewer."""
    # Asked of every image: `isinstance` would look into a module that is loaded late, which takes longer.
    mode: str | None = getattr(source, "mode", None)
    if mode is None:
        return "floats" if cast("NDArray[np.generic]", source).dtype.kind == "f" else "integers"
    return "floats" if mode == "F" else "integers" if mode.startswith("I") else None


def pixel_layout(image: Image.Image) -> tuple[str, float | None]:
    """Says how Pillow is about to decode a file: how it says that pixels stand there, and its full scale.

    The full scale is the `maxval` of a PGM or PPM file, by which Pillow scales what it reads; None for others.
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
    """Returns the numbers of an image of more than 8 bits as its file holds them.

    Args:
        source: The image.
        full: The full scale of its `layout`, by which Pillow's numbers are put back.
        unsigned: Whether the file holds no negative ones, so that those which Pillow gives are the largest.
    """
    values: NDArray[np.generic] = np.asarray(source)
    if unsigned:
        return values.view(np.uint32)
    if full is None or full == PPM_FULL:
        return values
    return np.rint(values.astype(np.float64) * full / PPM_FULL)


def declared_limits(image: Image.Image) -> list[float]:
    """Returns the lowest and highest numbers that a file of more than 8 bits says it may hold, if it does.

    A TIFF file has tags for them; one of 12 bits, a PGM file and the chunk `sBIT` of a PNG file tell the highest.
    """
    found = [pixel_layout(image)[1]]
    tags = getattr(image, "tag_v2", {})
    for name in (280, 281, 340, 341):  # MinSampleValue, MaxSampleValue, SMinSampleValue, SMaxSampleValue
        value = tags.get(name)
        found.append(value[0] if isinstance(value, tuple) else value)
    bits = tags.get(258, (16,))[0]  # BitsPerSample
    found.append(2.0**bits - 1 if 8 < bits < 16 else None)
    found.append(_significant(image))
    return [float(value) for value in found if isinstance(value, int | float) and math.isfinite(value)]


def _significant(image: Image.Image) -> float | None:
    """Returns the highest number of the bits that a PNG file calls significant."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return None
    position = file.tell()
    file.seek(0)
    head: bytes = file.read(HEAD)
    file.seek(position)
    place = head.find(b"sBIT", 0, head.find(b"IDAT") + 1)
    return None if place < 0 else 2.0 ** head[place + 4] - 1
