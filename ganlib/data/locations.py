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

from ganlib.data.kinds import unsupported_format

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
PACKED_START = 2048  # bytes that hold the tables of a deflated block, and so its first bytes


class ImageLocation(Protocol):
    """A place of an image. It can be pickled, and be opened by each process that shares the listing's open files."""

    def open(self) -> Image.Image | NDArray[np.generic]:
        """Opens the image, or gives its numbers; raises what Pillow raises on a damaged file."""


class FileLocation(ImageLocation, Protocol):
    """A place of a file, which may be an image."""

    def content(self) -> bytes:
        """Returns all bytes of the file; raises ValueError, OSError or what the archive's format raises on damage."""

    def start(self, count: int) -> bytes:
        """Returns the first bytes, as many as are asked for; fewer, or none, where they cannot be read."""


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
        """Opens the image."""
        return _image(self.content())

    def content(self) -> bytes:
        """Reads a regular file, or one that a link leads to."""
        file, size = self._opened()
        try:
            return _bytes(file, 0, size)
        finally:
            os.close(file)

    def start(self, count: int) -> bytes:
        """Reads the beginning; of what is no regular file, nothing."""
        try:
            file, _ = self._opened()
        except (OSError, ValueError):
            return b""
        try:
            return os.pread(file, count, 0)
        except OSError:
            return b""
        finally:
            os.close(file)

    def _opened(self) -> tuple[int, int]:
        """Opens a regular file, and tells its size; never waits for a pipe that bears an image's name."""
        file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise ValueError("no regular file")
        return file, status.st_size


class Range(NamedTuple):
    """Bytes of an open file, such as a member of a tar archive."""

    file: int
    offset: int
    size: int

    def open(self) -> Image.Image:
        """Opens the image that the bytes are."""
        return _image(self.content())

    def content(self) -> bytes:
        """Reads the bytes."""
        return _bytes(self.file, self.offset, self.size)

    def start(self, count: int) -> bytes:
        """Reads the first of them."""
        return os.pread(self.file, min(count, self.size), self.offset)


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
        """Opens the image."""
        return _image(self.content())

    def content(self) -> bytes:
        """Unpacks the file; no more than the size that the archive tells."""
        self._check_method()
        check_size(self.size)
        data = _bytes(self.file, self._place(), self.packed)
        if self.method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(RAW_DEFLATE).decompress(data, self.size + 1)
        if len(data) != self.size or zlib.crc32(data) != self.checksum:
            raise zipfile.BadZipFile("damaged: size or CRC differs")
        return data

    def start(self, count: int) -> bytes:
        """Unpacks the first bytes alone; of what is damaged, nothing."""
        try:
            self._check_method()
            data = os.pread(self.file, min(self.packed, count + PACKED_START), self._place())
            if self.method == zipfile.ZIP_DEFLATED:
                return zlib.decompressobj(RAW_DEFLATE).decompress(data, count)
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
            return b""
        return data[:count]

    def _check_method(self) -> None:
        if self.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("packed by another method than deflate, which alone is unpacked within bounds")

    def _place(self) -> int:
        """Returns where the packed bytes begin."""
        header = os.pread(self.file, LOCAL_HEADER.size, self.header)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            raise zipfile.BadZipFile("damaged: no file begins where the archive says")
        _, name, extra = LOCAL_HEADER.unpack(header)
        return self.header + LOCAL_HEADER.size + int(name) + int(extra)


class BucketObject(NamedTuple):
    """An object of a bucket, as its listing told: other content is not read."""

    bucket: str
    item: Object

    def open(self) -> Image.Image:
        """Brings the bytes to memory and opens the image; raises RemoteError where that says nothing of the image."""
        return _image(self.content())

    def content(self) -> bytes:
        """Brings the bytes to memory."""
        check_size(self.item.size)
        return remote.content(self.bucket, self.item, limit=MAX_IMAGE_BYTES)

    def start(self, count: int) -> bytes:
        """Asks for the first bytes alone; raises RemoteError where the bucket cannot be read."""
        return remote.start(self.bucket, self.item, count) if self.item.size else b""


class Unreadable(NamedTuple):
    """Something with the name of a file that is not to be read."""

    reason: str

    def open(self) -> Image.Image:
        """Raises the reason."""
        return _image(self.content())

    def content(self) -> bytes:
        """Raises the reason."""
        raise ValueError(self.reason)

    def start(self, count: int) -> bytes:
        """Returns nothing."""
        del count
        return b""


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
    try:
        return Image.open(io.BytesIO(data))
    except OSError as error:
        name = unsupported_format(data)
        if name is None:
            raise
        raise ValueError(f"{name}, a format that is not read here; convert it to PNG or JPEG") from error
