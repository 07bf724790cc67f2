"""A remote file, independent of the protocol, and checksums."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from etils import epy

from ganlib.progress import Progress

with epy.lazy_imports():
    import google_crc32c

TIMEOUT = 30.0  # seconds until an unanswered request fails
TRIES = 3  # if bytes arrive damaged
CHUNK = 2**20
MEGABYTE = 10**6
USER = re.compile(r"://[^/\s]*@")  # user and password in an address


class Sink(Protocol):
    """An object that bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Writes some bytes and returns their number."""


class RemoteError(OSError):
    """An address could not be read or written, for reasons other than its content."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address. The server has already answered for it.

    Attributes:
        location: The address.
        size: Size in bytes, or None if the server does not report it.
        modified: Time of the last change in nanoseconds, or None if the server does not report it.
        is_intact: Returns whether a file has the checksum, or None if the server does not report one.
        copy: Writes the bytes to a sink.
        identity: A text that changes with the content, such as a checksum, or None if the server does not report one.
    """

    location: str
    size: int | None
    modified: int | None
    is_intact: Callable[[Path], bool] | None
    copy: Callable[[Sink], object]
    identity: str | None = None

    def matches(self, path: Path) -> bool:
        """Returns whether an earlier download is still current, as far as the server reports enough to decide."""
        stat = path.stat()
        if self.size not in (None, stat.st_size):
            return False
        if self.is_intact is not None:
            return self.is_intact(path)
        return self.modified in (None, stat.st_mtime_ns)

    def download(self, path: Path) -> None:
        """Downloads the file and sets its time to that of the remote one. Prints the progress.

        Raises:
            OSError: The disk is too small, the download was interrupted, or the file arrived damaged.
        """
        check_free_space(path.parent, self.size or 0, location=self.location)
        for _ in range(TRIES):
            self._copy_to(path)
            if self.is_intact is None or self.is_intact(path):
                break
        else:
            raise OSError(f"the transferred bytes have a wrong checksum. Received: path={self.location!r}")
        if self.modified is not None:
            os.utime(path, ns=(self.modified, self.modified))

    def _copy_to(self, path: Path) -> None:
        with path.open("wb") as file:
            meter = _ProgressWriter(file, self.size)
            self.copy(meter)
        if self.size not in (None, meter.done):
            raise OSError(
                f"the download ended after {meter.done} of {self.size} bytes. Received: path={self.location!r}"
            )


def check_free_space(folder: Path, needed: int, *, location: str) -> None:
    """Checks that the disk has enough free space for a download.

    Args:
        folder: Target folder.
        needed: Number of bytes still to download.
        location: The address, for the message.

    Raises:
        OSError: There is not enough free space.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"expected {needed} bytes of free disk space in {folder}. Received: path={location!r}, free={free}"
        )


def first_line(error: object) -> str:
    """Returns the first line of an error's message, without passwords of addresses; its type if it has no message."""
    return USER.sub("://...@", (str(error) or type(error).__name__).splitlines()[0])


def checksum(file: BinaryIO) -> str:
    """Returns the CRC32C of a file's bytes in base64, the form that the storage uses."""
    crc = 0
    while data := file.read(CHUNK):
        crc = google_crc32c.extend(crc, data)
    return to_base64(crc)


def checksums(file: BinaryIO, *, size: int) -> tuple[int, str, str]:
    """Computes two checksums of the first bytes of an open file in one pass.

    Args:
        file: The file, at its beginning.
        size: Maximum number of bytes to read, so that bytes appended meanwhile are ignored.

    Returns:
        The number of bytes, their SHA-256 in hexadecimal digits, and their CRC32C in the form of `checksum`.
    """
    sha, crc, done = hashlib.sha256(), 0, 0
    while data := file.read(min(CHUNK, size - done)):
        sha.update(data)
        crc = google_crc32c.extend(crc, data)
        done += len(data)
    return done, sha.hexdigest(), to_base64(crc)


def to_base64(crc: int) -> str:
    """Returns a CRC32C in the form of `checksum`."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


class _ProgressWriter:
    """Writes bytes to a file and prints the progress."""

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self.done = 0
        self._file, self._size = file, size
        self._total = math.ceil((size or 0) / MEGABYTE)
        self._progress = Progress("fetch", total=self._total, unit="MB")

    def write(self, data: bytes, /) -> int:
        self._file.write(data)
        self.done += len(data)
        if self._size is not None:
            self._progress.update(self.done // MEGABYTE if self.done < self._size else self._total)
        return len(data)


def crc32c(path: Path) -> str:
    """Returns the `checksum` of a file on disk."""
    with path.open("rb") as file:
        return checksum(file)
