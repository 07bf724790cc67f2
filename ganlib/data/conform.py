"""One image of any kind becomes a square picture of the configured shape, or is refused with a reason."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Literal

from etils import epy

from ganlib.remote.file import RemoteError

with epy.lazy_imports():
    import numpy as np
    from PIL import Image, ImageOps

Colour = Literal["grey", "rgb"]
Fit = Literal["crop", "pad"]
Resize = Literal["bicubic", "bilinear", "lanczos", "nearest"]
MODES = {"grey": "L", "rgb": "RGB"}
DEEP_RANGE = 257  # 65535 / 255: one step of an 8-bit value in a 16-bit image
# What the system says of the file itself, and would say again. EINVAL: an offset that a damaged archive tells.
OF_THE_FILE = frozenset(
    {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL}
)


class UnusableImageError(ValueError):
    """An image that cannot be used; the message is the reason that the manifest records."""


def conform(
    read: Callable[[], Image.Image], *, size: int, colour: Colour, fit: Fit, resize: Resize, min_side: int
) -> tuple[Image.Image, list[str]]:
    """Reads an image and brings it to the configured shape.

    Orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, an
    animation gives its first frame. An image that already has the right shape keeps its pixels.

    Args:
        read: Opens the image.
        size: Side of the result in pixels.
        colour: Grey or RGB.
        fit: Cut the centre square out, or pad the short side with black.
        resize: Filter; all but `nearest` are antialiased when reducing.
        min_side: Smallest usable side of the original.

    Returns:
        A square picture in grey or RGB, and a remark for every conversion that loses something.

    Raises:
        UnusableImageError: The image is damaged, too small, or has no known range.
    """
    image, remarks = opened(read, colour=colour, min_side=min_side)
    if image.size != (size, size):
        image = _square(image, size=size, fit=fit, resize=Image.Resampling[resize.upper()])
    return image, remarks


def opened(read: Callable[[], Image.Image], *, colour: Colour, min_side: int = 1) -> tuple[Image.Image, list[str]]:
    """Reads an image, upright, in grey or RGB and in its own size.

    Args:
        read: Opens the image.
        colour: Grey or RGB.
        min_side: Smallest usable side.

    Returns:
        The image, and a remark for every conversion that loses something.

    Raises:
        UnusableImageError: The image is damaged, too small, or has no known range.
        RemoteError: It lies in a bucket that cannot be read.
        OSError: This machine failed to read it, which says nothing of the image.
        MemoryError: There is too little memory at this moment.
    """
    try:
        with read() as source:
            remarks = ["animated: first frame taken"] if getattr(source, "n_frames", 1) > 1 else []
            ImageOps.exif_transpose(source, in_place=True)  # loads it; a copy would cost as much as the decoding
            image: Image.Image = source
    except (RemoteError, MemoryError):  # say nothing of the image
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImageError("too many pixels to be opened safely") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files: the reason is recorded
        if isinstance(error, OSError) and error.errno is not None and error.errno not in OF_THE_FILE:
            raise  # Pillow's own have no number
        raise UnusableImageError(f"unreadable: {_first_line(error)}") from error
    if min(image.size) < min_side:
        raise UnusableImageError(f"too small: {image.width}x{image.height}, expected sides of {min_side} or more")
    image, lost = _to_mode(image, MODES[colour])
    return image, remarks + lost


def _to_mode(image: Image.Image, mode: str) -> tuple[Image.Image, list[str]]:
    """Converts to `L` or `RGB`, saying what was lost."""
    remarks = []
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise UnusableImageError("grey values outside 0..65535")
        image = Image.fromarray(np.rint(values / DEEP_RANGE).astype(np.uint8))
        remarks.append("16-bit grey: scaled to 8 bits")
    if image.mode == "F":
        raise UnusableImageError("floating-point pixels have no known range")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        remarks.append("transparent: laid on white")
    if image.mode not in (mode, "L", "RGB", "1", "P"):
        remarks.append(f"{image.mode}: converted to {mode}")
    try:
        return (image if image.mode == mode else image.convert(mode)), remarks
    except ValueError as error:
        raise UnusableImageError(f"colour mode {image.mode} cannot be converted to {mode}") from error


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


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.partition(" <")[0] if "cannot identify" not in text else "not an image"
