"""Where one image lies: so little that another process can be told, which then opens the image itself."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from etils import epy

with epy.lazy_imports():
    from PIL import Image

    from ganlib import remote

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ganlib.remote import Object

MAX_IMAGE_BYTES = 256 * 2**20  # no image of a data set is larger: a bomb, or not an image
LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip file's member: magic, lengths of its name and of what is extra
LOCAL_MAGIC = b"PK\3\4"
RAW_DEFLATE = -15


class Stored(Protocol):
    """A place of an image. It can be pickled, and be opened by each process that shares the listing's open files."""

    def open(self) -> Image.Image | NDArray[np.generic]:
        """Opens the image, or gives its numbers; raises what Pillow raises on a damaged file."""


class Pixels(NamedTuple):
    """Pixels themselves: numbers [H, W] or [H, W, C]."""

    array: NDArray[np.generic]

    def open(self) -> Image.Image | NDArray[np.generic]:
        """Returns the picture of uint8 pixels; numbers of other types as they are, since Pillow has no mode for all."""
        array = self.array
        if array.dtype != "uint8":
            return array
        return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


class File(NamedTuple):
    """A file by its path."""

    path: str

    def open(self) -> Image.Image:
        """Opens a regular file, or one that a link leads to; never waits for a pipe that bears an image's name."""
        file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("no regular file")
            return _image(_bytes(file, 0, status.st_size))
        finally:
            os.close(file)


class Range(NamedTuple):
    """Bytes of an open file, such as a member of a tar archive."""

    file: int
    offset: int
    size: int

    def open(self) -> Image.Image:
        """Opens the image that the bytes are."""
        return _image(_bytes(self.file, self.offset, self.size))


class ZipMember(NamedTuple):
    """A member of an open zip file; nothing that the archive says of it is believed.

    Attributes:
        file: Descriptor of the zip file.
        header: Where the member begins.
        method: How it is packed.
        packed: Its bytes in the file.
        size: Its bytes unpacked.
        checksum: Their CRC-32.
    """

    file: int
    header: int
    method: int
    packed: int
    size: int
    checksum: int

    def open(self) -> Image.Image:
        """Opens the image; unpacks no more than the size that the archive tells."""
        if self.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("packed by another method than deflate, which alone is unpacked within bounds")
        check_size(self.size)
        header = os.pread(self.file, LOCAL_HEADER.size, self.header)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            raise zipfile.BadZipFile("damaged: no file begins where the archive says")
        _, name, extra = LOCAL_HEADER.unpack(header)
        data = _bytes(self.file, self.header + LOCAL_HEADER.size + name + extra, self.packed)
        if self.method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(RAW_DEFLATE).decompress(data, self.size + 1)
        if len(data) != self.size or zlib.crc32(data) != self.checksum:
            raise zipfile.BadZipFile("damaged: size or CRC differs")
        return _image(data)


class InBucket(NamedTuple):
    """An object of a bucket, as its listing told: other content is not read."""

    bucket: str
    item: Object

    def open(self) -> Image.Image:
        """Brings the bytes to memory and opens the image; raises RemoteError where that says nothing of the image."""
        check_size(self.item.size)
        return _image(remote.content(self.bucket, self.item, limit=MAX_IMAGE_BYTES))


class Unreadable(NamedTuple):
    """Something with the name of an image that is not to be read."""

    reason: str

    def open(self) -> Image.Image:
        """Raises the reason."""
        raise ValueError(self.reason)


def check_size(size: int) -> None:
    """Refuses what is larger than any image.

    Raises:
        ValueError: More than `MAX_IMAGE_BYTES`.
    """
    if size > MAX_IMAGE_BYTES:
        raise ValueError(f"larger than any image, {size} bytes")


def _bytes(file: int, offset: int, size: int) -> bytes:
    check_size(size)
    return os.pread(file, size, offset)


def _image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))
