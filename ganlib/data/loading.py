"""Opens one image and reads it as it is stored, or rejects it with a reason."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from etils import epy

from ganlib.data.value_range import UNSIGNED, Kind, declared_limits, file_values, kind_of, pixel_layout
from ganlib.remote.file import RemoteError

with epy.lazy_imports():
    import numpy as np
    from PIL import Image, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Read = Callable[[], Image.Image | NDArray[np.generic]]

ORIENTATION, UPRIGHT = 0x0112, 1  # the EXIF tag, and its value for most images
DEEP_CHANNELS = "16 bits per channel: only the upper 8 are read"
# Errors that are caused by the file itself and would occur again. EINVAL: a wrong offset in a damaged archive.
FILE_ERRORS = frozenset(
    {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL}
)


class UnusableImageError(ValueError):
    """An image cannot be used. The message is the reason that the manifest records."""


class Loaded(NamedTuple):
    """An image as it is stored, after its orientation was applied.

    Attributes:
        source: Pillow's image, or an array if Pillow has no mode for it.
        kind: The kind of its numbers; None for 8 bits.
        format: Pillow's name of the file format; `array` if there is no file.
        remarks: A remark for every loss while reading.
        full: The full scale that `pixel_layout` returns.
        declared: The limits that `declared_limits` returns; empty unless requested.
        unsigned: Whether its values are unsigned 32-bit integers, which Pillow reads as signed.
    """

    source: Image.Image | NDArray[np.generic]
    kind: Kind | None
    format: str
    remarks: list[str]
    full: float | None = None
    declared: tuple[float, ...] = ()
    unsigned: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if hasattr(self.source, "mode"):
            return cast("Image.Image", self.source).size
        height, width = self.source.shape[:2]
        return width, height

    def crop(self, box: tuple[int, int, int, int]) -> Loaded:
        """Returns the part of an image between left, top, right and bottom."""
        left, top, right, bottom = box
        if hasattr(self.source, "mode"):
            return self._replace(source=cast("Image.Image", self.source).crop(box))
        return self._replace(source=self.source[top:bottom, left:right])

    def numbers(self) -> NDArray[np.generic]:
        """Returns the values of an image of more than 8 bits.

        Raises:
            UnusableImageError: Some values are not finite.
        """
        numbers = file_values(self.source, self.full, unsigned=self.unsigned)
        if not numbers.size or not np.isfinite(numbers).all():
            raise UnusableImageError("values that are not finite numbers")
        return numbers


def load(read: Read, *, only_deep: bool = False) -> Loaded:
    """Reads an image. With `only_deep`, images of 8 bits are not decoded, and deeper ones get their `declared` limits.

    Raises:
        UnusableImageError: The image is damaged or has too many pixels.
        RemoteError: It is stored in a bucket that cannot be read.
        OSError: This machine failed to read it, although the image may be fine.
        MemoryError: There is too little memory at the moment.
    """
    try:
        opened = read()
        kind = kind_of(opened)
        if not hasattr(opened, "mode"):
            return Loaded(opened, kind, "array", [])
        with cast("Image.Image", opened) as source:
            if only_deep and kind is None:
                return Loaded(source, kind, "", [])
            limits = tuple(declared_limits(source)) if only_deep else ()
            stored, full = pixel_layout(source)
            remarks = ["several frames or pages: only the first is used"] if getattr(source, "n_frames", 1) > 1 else []
            if kind is None and (";16" in stored if full is None else full > 255):
                remarks.append(DEEP_CHANNELS)
            file = source.format or "array"
            source.load()
            if source.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
                ImageOps.exif_transpose(source, in_place=True)  # a copy would take as long as the decoding
            unsigned = kind is not None and file == "TIFF" and stored in UNSIGNED
            return Loaded(source, kind, file, remarks, full, limits, unsigned)
    except (RemoteError, MemoryError):  # not caused by the image
        raise
    except UnusableImageError:  # the location itself has the reason
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImageError("too many pixels to be opened safely") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files: the reason is recorded
        if isinstance(error, OSError) and error.errno is not None and error.errno not in FILE_ERRORS:
            raise  # Pillow's own errors have no number
        raise UnusableImageError(f"unreadable: {_first_line(error)}") from error


def values_of(read: Read) -> tuple[Kind, float, float] | None:
    """Returns the kind, the lowest and the highest value of an image of more than 8 bits.

    The limits that its file declares count as values. Returns None for an image of 8 bits, which is not decoded.
    Raises the same errors as `load`.
    """
    loaded = load(read, only_deep=True)
    if loaded.kind is None:
        return None
    numbers = loaded.numbers()
    ends = [float(numbers.min()), float(numbers.max()), *loaded.declared]
    return loaded.kind, min(ends), max(ends)


def _first_line(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.partition(" <")[0] if "cannot identify" not in text else "not an image"
