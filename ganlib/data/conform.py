"""Converts any image to one of the configured size and colour, or rejects it with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
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
TARGET_REMARK = "target: "  # before a remark on a target
NARROW_RANGE = 64  # of 255: the range of values is no longer tracked once it is at least this wide


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Returns height and width of a size from the settings: the side of a square, or both."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width


@dataclass
class ImageStats:
    """Statistics of the original images, accumulated over many images.

    Attributes:
        formats: Number of images of each file format.
        low: Lowest value of all images, on the scale 0..255. No longer updated once the range is `NARROW_RANGE` wide.
        high: Highest value, likewise.
    """

    formats: Counter[str] = field(default_factory=Counter)
    low: int = 255
    high: int = 0

    def add(self, loaded: Loaded, image: Image.Image) -> None:
        """Adds an original and the image in grey or RGB that it became."""
        self.formats[loaded.format] += 1
        self.add_values(image)

    def add_values(self, image: Image.Image) -> None:
        """Adds the values of an image in grey or RGB."""
        if self.high - self.low < NARROW_RANGE:
            self.add_range(*_extrema(image))

    def add_range(self, low: int, high: int) -> None:
        """Adds a range of values."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def merge(self, other: ImageStats) -> None:
        """Adds the statistics of other images."""
        self.formats.update(other.formats)
        self.add_range(other.low, other.high)


def conform(
    read: Read,
    *,
    size: tuple[int, int],
    colour: Colour,
    fit: Fit,
    resize: Resize,
    min_side: int,
    values: ValueRange | None = None,
    stats: ImageStats | None = None,
) -> tuple[Image.Image, list[str]]:
    """Reads an image and converts it to the configured size and colour.

    The EXIF orientation is applied, transparent pixels get a white background, more than 8 bits are scaled to 8 by the
    range of the whole set, and an animation becomes its first frame. An image that already conforms keeps its pixels.

    Args:
        read: Opens the image.
        size: Height and width of the result in pixels.
        colour: Grey or RGB.
        fit: Crop the centre to the shape of the result, or pad with black.
        resize: Filter; all but `nearest` antialias when they shrink the image.
        min_side: Smallest usable side of the original, in pixels.
        values: Range of values of the set.
        stats: Statistics to add the original to.

    Returns:
        An image in grey or RGB, and a remark for every lossy conversion.

    Raises:
        UnusableImageError: The image is damaged, too small, or has no known range.
    """
    image, remarks = open_image(read, colour=colour, min_side=min_side, values=values, stats=stats)
    return fit_size(image, size=size, fit=fit, resize=resize), remarks


def open_image(
    read: Read,
    *,
    colour: Colour,
    min_side: int = 1,
    values: ValueRange | None = None,
    stats: ImageStats | None = None,
) -> tuple[Image.Image, list[str]]:
    """Reads an image, applies its orientation, and converts it to grey or RGB. Its size stays the same.

    Args:
        read: Opens the image.
        colour: Grey or RGB.
        min_side: Smallest usable side, in pixels.
        values: Range of values of the set; None means that all images have 8 bits.
        stats: Statistics to add the original to.

    Returns:
        The image, and a remark for every lossy conversion.

    Raises:
        UnusableImageError: The image is damaged, too small, or has no known range.
        RemoteError: It is stored in a bucket that cannot be read.
        OSError: This machine failed to read it, although the image may be fine.
        MemoryError: There is too little memory at the moment.
    """
    loaded = load(read)
    image, remarks = _convert_pixels(loaded, colour=colour, min_side=min_side, values=values)
    if stats is not None:
        stats.add(loaded, image)
    return image, remarks


def _convert_pixels(
    loaded: Loaded, *, colour: Colour, min_side: int, values: ValueRange | None
) -> tuple[Image.Image, list[str]]:
    """Converts an image to grey or RGB of 8 bits."""
    if loaded.kind is not None:
        image, lost = _scale(loaded, values)
    elif values is not None and values.of is None:
        image, lost = _scale_8_bit(cast("Image.Image", loaded.source), values)
    else:
        image, lost = cast("Image.Image", loaded.source), []
    if min(image.size) < min_side:
        raise UnusableImageError(f"too small: {image.width}x{image.height}, expected sides of {min_side} or more")
    image, more = _to_mode(image, MODES[colour])
    return image, [*loaded.remarks, *lost, *more]


def _scale(loaded: Loaded, values: ValueRange | None) -> tuple[Image.Image, list[str]]:
    """Scales an image of more than 8 bits to 8 bits, by the range of its set."""
    numbers = loaded.numbers()  # first, because this rejects values that are not finite
    if values is None or values.of not in (None, loaded.kind):
        what = "floating-point values" if loaded.kind == "floats" else "values of more than 8 bits"
        raise UnusableImageError(f"{what} of unknown range; set data.value_range")
    pixels, outside = values.scale(numbers)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    return Image.fromarray(pixels), _remarks(values, outside=outside)


def _scale_8_bit(source: Image.Image, values: ValueRange) -> tuple[Image.Image, list[str]]:
    """Scales the colours of an image of 8 bits by the configured range; pure black-and-white images stay the same."""
    if source.mode == "1":
        return source, []
    if source.has_transparency_data:
        source, lost = source.convert("RGBA"), list[str]()
    else:
        source, lost = _convert(source, "L" if source.mode == "L" else "RGB")
    colours, alpha = source.split()[:3], source.split()[3:]
    ends = [_extrema(band) for band in colours]
    outside = any(low < values.low or high > values.high for low, high in ends)
    table = values.scale(np.arange(256))[0].tolist()
    image = Image.merge(source.mode, [*(band.point(table) for band in colours), *alpha])
    return image, [*lost, *_remarks(values, outside=outside)]


def _remarks(values: ValueRange, *, outside: bool) -> list[str]:
    clipped = [f"values outside {values.text}: clipped"] if outside else []
    return [values.remark, *clipped]


def _to_mode(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    """Converts to `L` or `RGB`; also returns a remark for every lossy conversion."""
    remarks = []
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        remarks.append("transparent: put on a white background")
    image, lost = _convert(image, mode)
    return image, remarks + lost


def _convert(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    lost = [] if image.mode in (mode, "L", "RGB", "1", "P") else [f"{image.mode}: converted to {mode}"]
    if mode == "L" and image.mode in ("RGB", "P"):
        colours = image.convert("RGB").split()
        lost = ["colour: reduced to grey"] if len({band.tobytes() for band in colours}) > 1 else []
    try:
        return (image if image.mode == mode else image.convert(mode)), lost
    except ValueError as error:
        raise UnusableImageError(f"colour mode {image.mode} cannot be converted to {mode}") from error


def _extrema(image: Image.Image) -> tuple[int, int]:
    """Returns the lowest and the highest value of an image of 8 bits, over all channels."""
    bands = image.getextrema()
    ends = [int(end) for band in bands for end in (band if isinstance(band, tuple) else (band,))]
    return min(ends), max(ends)


def conform_pair(
    load_pair: Callable[[], tuple[Loaded, Loaded]],
    *,
    size: tuple[int, int],
    colour: Colour,
    fit: Fit,
    resize: tuple[Resize, Resize],
    min_side: int,
    values: tuple[ValueRange | None, ValueRange | None],
    stats: tuple[ImageStats, ImageStats],
) -> tuple[list[Image.Image], list[str]]:
    """Reads an image and its target and converts both alike, as `conform` does.

    Args:
        load_pair: Reads both.
        size: Height and width of the results in pixels.
        colour: Grey or RGB.
        fit: Crop the centre to the shape of the result, or pad with black.
        resize: Filters for the image and for its target; all but `nearest` antialias when they shrink an image.
        min_side: Smallest usable side of the originals, in pixels.
        values: Ranges of values of all images and of all targets.
        stats: Statistics to add the two originals to.

    Returns:
        The image and its target, and a remark for every lossy conversion.

    Raises:
        UnusableImageError: One of them is damaged, too small, or has no known range, or they do not fit together.
    """
    both, images, remarks = load_pair(), [], []
    for name, loaded, values_of_set in zip(("input", "target"), both, values, strict=True):
        try:
            image, lost = _convert_pixels(loaded, colour=colour, min_side=min_side, values=values_of_set)
        except UnusableImageError as error:
            raise UnusableImageError(f"{name} {error}") from error
        images.append(image)
        remarks += lost if name == "input" else [f"{TARGET_REMARK}{remark}" for remark in lost]
    for loaded, image, stats_of_set in zip(both, images, stats, strict=True):
        stats_of_set.add(loaded, image)
    return [fit_size(image, size=size, fit=fit, resize=own) for image, own in zip(images, resize, strict=True)], remarks


def fit_size(image: Image.Image, *, size: tuple[int, int], fit: Fit, resize: Resize) -> Image.Image:
    """Returns an image of a size, without distortion; the same image if it already has this size.

    Args:
        image: The image.
        size: Height and width of the result in pixels.
        fit: Crop the centre to the shape of the result, or pad with black.
        resize: Filter.
    """
    (width, height), (new_height, new_width) = image.size, size
    if image.size == (new_width, new_height):
        return image
    resampling = Image.Resampling[resize.upper()]
    if fit == "crop":
        kept_width = min(width, max(1, round(height * new_width / new_height)))
        kept_height = min(height, max(1, round(width * new_height / new_width)))
        left, top = (width - kept_width) // 2, (height - kept_height) // 2
        centre = image.crop((left, top, left + kept_width, top + kept_height))
        return _resize(centre, new_width, new_height, resampling)
    # Resize before padding: padding a long, thin image at its own scale could exhaust the memory.
    scale = min(new_width / width, new_height / height)
    image = _resize(image, max(1, round(width * scale)), max(1, round(height * scale)), resampling)
    sheet = Image.new(image.mode, (new_width, new_height))
    sheet.paste(image, ((new_width - image.width) // 2, (new_height - image.height) // 2))
    return sheet


def _resize(image: Image.Image, width: int, height: int, resize: Image.Resampling) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), resize)
