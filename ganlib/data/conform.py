"""One image of any kind becomes a square picture of the configured shape, or is refused with a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from etils import epy

from ganlib.data.loading import Loaded, UnusableImageError, load
from ganlib.data.value_range import ValueRange

with epy.lazy_imports():
    import numpy as np
    from PIL import Image

if TYPE_CHECKING:
    from ganlib.data.loading import Read

Colour = Literal["grey", "rgb"]
Fit = Literal["crop", "pad"]
Resize = Literal["bicubic", "bilinear", "lanczos", "nearest"]
MODES = {"grey": "L", "rgb": "RGB"}
NARROW_RANGE = 64  # of 255: images whose values are further apart are not looked through for what they use


@dataclass
class ImageStats:
    """What images were like before they were brought to one shape; adds up over many.

    Attributes:
        formats: How many there are of each file format.
        low: Lowest value that any has, on the scale 0..255. Only as long as all of them use a small share of it.
        high: Highest value, likewise.
    """

    formats: Counter[str] = field(default_factory=Counter)
    low: int = 255
    high: int = 0

    def look_at(self, image: Image.Image) -> None:
        """Takes in the values of an image in grey or RGB."""
        if self.high - self.low < NARROW_RANGE:
            self.widen(*_ends(image))

    def widen(self, low: int, high: int) -> None:
        """Takes in the values of further images."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def add(self, other: ImageStats) -> None:
        """Takes in what was stats of further images."""
        self.formats.update(other.formats)
        self.widen(other.low, other.high)


def conform(
    read: Read,
    *,
    size: int,
    colour: Colour,
    fit: Fit,
    resize: Resize,
    min_side: int,
    values: ValueRange | None = None,
    stats: ImageStats | None = None,
) -> tuple[Image.Image, list[str]]:
    """Reads an image and brings it to the configured shape.

    Orientation is applied, transparency is laid on white, more than 8 bits are scaled to 8 by the range of the whole
    set, an animation gives its first frame. An image that already has the right shape keeps its pixels.

    Args:
        read: Opens the image.
        size: Side of the result in pixels.
        colour: Grey or RGB.
        fit: Cut the centre square out, or pad the short side with black.
        resize: Filter; all but `nearest` are antialiased when reducing.
        min_side: Smallest usable side of the original.
        values: The set's range of values.
        stats: Takes in what the original is like.

    Returns:
        A square picture in grey or RGB, and a remark for every conversion that loses something.

    Raises:
        UnusableImageError: The image is damaged, too small, or has no known range.
    """
    image, remarks = open_image(read, colour=colour, min_side=min_side, values=values, stats=stats)
    if image.size != (size, size):
        image = _square(image, size=size, fit=fit, resize=Image.Resampling[resize.upper()])
    return image, remarks


def open_image(
    read: Read,
    *,
    colour: Colour,
    min_side: int = 1,
    values: ValueRange | None = None,
    stats: ImageStats | None = None,
) -> tuple[Image.Image, list[str]]:
    """Reads an image, upright, in grey or RGB and in its own size.

    Args:
        read: Opens the image.
        colour: Grey or RGB.
        min_side: Smallest usable side.
        values: The range of values of the set that the image is of; None means that all have 8 bits.
        stats: Takes in what the original is like.

    Returns:
        The image, and a remark for every conversion that loses something.

    Raises:
        UnusableImageError: The image is damaged, too small, or has no known range.
        RemoteError: It lies in a bucket that cannot be read.
        OSError: This machine failed to read it, which says nothing of the image.
        MemoryError: There is too little memory at this moment.
    """
    loaded = load(read)
    if loaded.kind is not None:
        image, lost = _scaled(loaded, values)
    elif values is not None and values.of is None:
        image, lost = _spread(cast("Image.Image", loaded.source), values)
    else:
        image, lost = cast("Image.Image", loaded.source), []
    if min(image.size) < min_side:
        raise UnusableImageError(f"too small: {image.width}x{image.height}, expected sides of {min_side} or more")
    image, more = _to_mode(image, MODES[colour])
    if stats is not None:
        stats.formats[loaded.format] += 1
        stats.look_at(image)
    return image, [*loaded.remarks, *lost, *more]


def _scaled(loaded: Loaded, values: ValueRange | None) -> tuple[Image.Image, list[str]]:
    """Brings an image of more than 8 bits to 8, by the range of its set."""
    numbers = loaded.numbers()  # first: what is no number has no place in any range
    if values is None or values.of not in (None, loaded.kind):
        told = "floating-point values" if loaded.kind == "floats" else "values of more than 8 bits"
        raise UnusableImageError(f"{told} of no known range, which data.value_range would tell")
    pixels, outside = values.scale(numbers)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    return Image.fromarray(pixels), _remarks(values, outside=outside)


def _spread(source: Image.Image, values: ValueRange) -> tuple[Image.Image, list[str]]:
    """Maps the colours of an image of 8 bits by a range that the settings name; black and white ones have none."""
    if source.mode == "1":
        return source, []
    if source.has_transparency_data:
        source, lost = source.convert("RGBA"), list[str]()
    else:
        source, lost = _converted(source, "L" if source.mode == "L" else "RGB")
    colours, alpha = source.split()[:3], source.split()[3:]
    ends = [_ends(band) for band in colours]
    outside = any(low < values.low or high > values.high for low, high in ends)
    table = values.scale(np.arange(256))[0].tolist()
    image = Image.merge(source.mode, [*(band.point(table) for band in colours), *alpha])
    return image, [*lost, *_remarks(values, outside=outside)]


def _remarks(values: ValueRange, *, outside: bool) -> list[str]:
    clipped = [f"values outside {values.text}: cut to it"] if outside else []
    return [values.remark, *clipped]


def _to_mode(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    """Converts to `L` or `RGB`, saying what was lost."""
    remarks = []
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        remarks.append("transparent: laid on white")
    image, lost = _converted(image, mode)
    return image, remarks + lost


def _converted(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    lost = [] if image.mode in (mode, "L", "RGB", "1", "P") else [f"{image.mode}: converted to {mode}"]
    if mode == "L" and image.mode == "RGB" and len({band.tobytes() for band in image.split()}) > 1:
        lost = ["colour: reduced to grey"]
    try:
        return (image if image.mode == mode else image.convert(mode)), lost
    except ValueError as error:
        raise UnusableImageError(f"colour mode {image.mode} cannot be converted to {mode}") from error


def _ends(image: Image.Image) -> tuple[int, int]:
    """Returns the lowest and the highest value of an image of 8 bits, in whatever channel."""
    bands = image.getextrema()
    ends = [int(end) for band in bands for end in (band if isinstance(band, tuple) else (band,))]
    return min(ends), max(ends)


def _square(image: Image.Image, *, size: int, fit: Fit, resize: Image.Resampling) -> Image.Image:
    width, height = image.size
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return _resized(image.crop((left, top, left + side, top + side)), size, size, resize)
    # Resized before it is padded: a long thin image on a square sheet of its own scale could fill the memory.
    scale = size / max(width, height)
    image = _resized(image, max(1, round(width * scale)), max(1, round(height * scale)), resize)
    sheet = Image.new(image.mode, (size, size))
    sheet.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return sheet


def _resized(image: Image.Image, width: int, height: int, resize: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), resize)
