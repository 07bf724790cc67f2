"""One image is opened and read as its file holds it, or refused with a reason."""

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

ORIENTATION, UPRIGHT = 0x0112, 1  # the tag of EXIF, and what it says of most images
DEEP_CHANNELS = "16 bits a channel: only the upper 8 are read"
# What the system says of the file itself, and would say again. EINVAL: an offset that a damaged archive tells.
OF_THE_FILE = frozenset(
    {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL}
)


class UnusableImageError(ValueError):
    """An image that cannot be used; the message is the reason that the manifest records."""


class Loaded(NamedTuple):
    """An image as its file holds it, upright.

    Attributes:
        source: Pillow's image, or an array that Pillow has no mode for.
        kind: What numbers it holds, None for 8 bits.
        format: Pillow's name of the file format; `array` where there is no file.
        remarks: What was lost on the way.
        full: The full scale of its `layout`.
        declared: What it declares, if that was asked for.
        unsigned: Whether its 32 bits have no sign, though Pillow reads one.
    """

    source: Image.Image | NDArray[np.generic]
    kind: Kind | None
    format: str
    remarks: list[str]
    full: float | None = None
    declared: tuple[float, ...] = ()
    unsigned: bool = False

    def numbers(self) -> NDArray[np.generic]:
        """Returns the finite numbers of an image of more than 8 bits."""
        numbers = file_values(self.source, self.full, unsigned=self.unsigned)
        if not numbers.size or not np.isfinite(numbers).all():
            raise UnusableImageError("values that are no finite numbers")
        return numbers


def load(read: Read, *, only_deep: bool = False) -> Loaded:
    """Reads an image; with `only_deep`, one of 8 bits is left undecoded, and a deep one tells what it declares."""
    try:
        found = read()
        kind = kind_of(found)
        if not hasattr(found, "mode"):
            return Loaded(found, kind, "array", [])
        with cast("Image.Image", found) as source:
            if only_deep and kind is None:
                return Loaded(source, kind, "", [])
            told = tuple(declared_limits(source)) if only_deep else ()
            stored, full = pixel_layout(source)
            remarks = ["several frames or pages: the first is taken"] if getattr(source, "n_frames", 1) > 1 else []
            if kind is None and (";16" in stored if full is None else full > 255):
                remarks.append(DEEP_CHANNELS)
            file = source.format or "array"
            source.load()
            if source.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
                ImageOps.exif_transpose(source, in_place=True)  # a copy would cost as much as the decoding
            unsigned = kind is not None and file == "TIFF" and stored in UNSIGNED
            return Loaded(source, kind, file, remarks, full, told, unsigned)
    except (RemoteError, MemoryError):  # say nothing of the image
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImageError("too many pixels to be opened safely") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files: the reason is recorded
        if isinstance(error, OSError) and error.errno is not None and error.errno not in OF_THE_FILE:
            raise  # Pillow's own have no number
        raise UnusableImageError(f"unreadable: {_first_line(error)}") from error


def values_of(read: Read) -> tuple[Kind, float, float] | None:
    """Returns what numbers an image of more than 8 bits has, with the lowest and highest of it or of its file.

    None if it has 8 bits; such an image is not decoded. Raises as `opened` does.
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
