"""Locations of images. A location is small, so that it can be sent to a process that opens the image itself."""

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
LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: magic, length of the name, length of the extra field
LOCAL_MAGIC = b"PK\3\4"
RAW_DEFLATE = -15
PACKED_START = 2048  # compressed bytes that are enough to decode the first bytes of a deflated block


class ImageLocation(Protocol):
    """The location of an image. It can be pickled, and opened by any process that shares the listing's open files."""

    def open(self) -> Image.Image | NDArray[np.generic]:
        """Opens the image, or returns its array. A damaged file raises whatever Pillow raises."""


class FileLocation(ImageLocation, Protocol):
    """The location of a file, which may be an image."""

    def content(self) -> bytes:
        """Returns all bytes of the file. Raises ValueError, OSError, or the archive format's own errors on damage."""

    def start(self, count: int) -> bytes:
        """Returns the first `count` bytes; fewer, or none, if they cannot be read."""


class Pixels(NamedTuple):
    """An image in memory: an array [H, W] or [H, W, C]."""

    array: NDArray[np.generic]

    def open(self) -> Image.Image | NDArray[np.generic]:
        """Returns uint8 pixels as an image, and other types as an array, because Pillow does not support them all."""
        array = self.array
        if array.dtype != "uint8":
            return array
        return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


class File(NamedTuple):
    """A file on disk."""

    path: str

    def open(self) -> Image.Image:
        """Opens the image."""
        return _image(self.content())

    def content(self) -> bytes:
        """Reads a regular file, or the target of a link."""
        file, size = self._open()
        try:
            return _bytes(file, 0, size)
        finally:
            os.close(file)

    def start(self, count: int) -> bytes:
        """Reads the first bytes; none if this is not a regular file."""
        try:
            file, _ = self._open()
        except (OSError, ValueError):
            return b""
        try:
            return os.pread(file, count, 0)
        except OSError:
            return b""
        finally:
            os.close(file)

    def _open(self) -> tuple[int, int]:
        """Opens a regular file and returns its descriptor and size. Never blocks on a pipe."""
        file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise ValueError("not a regular file")
        return file, status.st_size


class Range(NamedTuple):
    """Bytes of an open file, such as a member of a tar archive."""

    file: int
    offset: int
    size: int

    def open(self) -> Image.Image:
        """Opens the image."""
        return _image(self.content())

    def content(self) -> bytes:
        """Reads the bytes."""
        return _bytes(self.file, self.offset, self.size)

    def start(self, count: int) -> bytes:
        """Reads the first bytes."""
        return os.pread(self.file, min(count, self.size), self.offset)


class ZipMember(NamedTuple):
    """A member of an open zip file. Everything that the archive states about it is verified.

    Attributes:
        file: Descriptor of the zip file.
        header: Offset of the member's header.
        method: Compression method.
        packed: Compressed size in bytes.
        size: Uncompressed size in bytes.
        checksum: CRC-32 of the uncompressed bytes.
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
        """Unpacks the file, at most up to the stated size."""
        self._check_method()
        check_size(self.size)
        data = _bytes(self.file, self._offset(), self.packed)
        if self.method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(RAW_DEFLATE).decompress(data, self.size + 1)
        if len(data) != self.size or zlib.crc32(data) != self.checksum:
            raise zipfile.BadZipFile("damaged: size or CRC differs")
        return data

    def start(self, count: int) -> bytes:
        """Unpacks only the first bytes; none if the member is damaged."""
        try:
            self._check_method()
            data = os.pread(self.file, min(self.packed, count + PACKED_START), self._offset())
            if self.method == zipfile.ZIP_DEFLATED:
                return zlib.decompressobj(RAW_DEFLATE).decompress(data, count)
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
            return b""
        return data[:count]

    def _check_method(self) -> None:
        if self.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("expected the compression method deflate, the only one that can be unpacked within limits")

    def _offset(self) -> int:
        """Returns the offset of the compressed bytes."""
        header = os.pread(self.file, LOCAL_HEADER.size, self.header)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            raise zipfile.BadZipFile("damaged: no file at the offset that the archive states")
        _, name, extra = LOCAL_HEADER.unpack(header)
        return self.header + LOCAL_HEADER.size + int(name) + int(extra)


class BucketObject(NamedTuple):
    """An object of a bucket, as it was when it was listed. If it has changed, it cannot be read."""

    root: str  # address of the bucket
    item: Object

    def open(self) -> Image.Image:
        """Downloads the image to memory and opens it. Raises RemoteError for failures not caused by the image."""
        return _image(self.content())

    def content(self) -> bytes:
        """Downloads the bytes to memory."""
        check_size(self.item.size)
        return remote.read_content(self.root, self.item, limit=MAX_IMAGE_BYTES)

    def start(self, count: int) -> bytes:
        """Downloads only the first bytes. Raises RemoteError if the bucket cannot be read."""
        return remote.read_start(self.root, self.item, count) if self.item.size else b""


class Unreadable(NamedTuple):
    """Something that has the name of a file but must not be read."""

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
    """Checks the size of a file before it is read.

    Raises:
        ValueError: It has more than `MAX_IMAGE_BYTES`.
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
        raise ValueError(f"{name}, an unsupported format; convert it to PNG or JPEG") from error
