"""A file at an address that has answered, whatever protocol it is read by."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from etils import epy

from ganlib.progress import Progress

with epy.lazy_imports():
    import google_crc32c

TIMEOUT = 30.0  # seconds without an answer
TRIES = 3  # for bytes that arrive damaged
CHUNK = 2**20
MEGABYTE = 10**6


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Takes some bytes and returns how many."""


class RemoteError(OSError):
    """What is at an address could not be read or written, through no fault of what it holds."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address that has answered.

    Attributes:
        location: The address.
        size: Bytes, or None where the server does not say.
        modified: Time of the last change in nanoseconds, or None where the server does not say.
        crc32c: Checksum in base64 (RFC 3720), or None where the server does not say.
        copy: Writes the bytes to a sink.
    """

    location: str
    size: int | None
    modified: int | None
    crc32c: str | None
    copy: Callable[[Sink], None]

    def matches(self, path: Path) -> bool:
        """Says whether a file that was downloaded before is still this one, as far as the server tells."""
        stat = path.stat()
        if self.size not in (None, stat.st_size):
            return False
        if self.crc32c is not None:
            return self.crc32c == crc32c(path)
        return self.modified in (None, stat.st_mtime_ns)

    def download(self, path: Path) -> None:
        """Writes the file, which then bears the time of the remote one; lines tell how far it is.

        Raises:
            OSError: The disk is too small, the download broke off, or it arrived damaged.
        """
        check_free_space(path.parent, self.size or 0, location=self.location)
        for _ in range(TRIES):
            self._copy_to(path)
            if self.crc32c in (None, crc32c(path)):
                break
        else:
            raise OSError(f"the checksum of what arrived is not the object's. Received: path={self.location!r}")
        if self.modified is not None:
            os.utime(path, ns=(self.modified, self.modified))

    def _copy_to(self, path: Path) -> None:
        with path.open("wb") as file:
            meter = _ProgressWriter(file, self.size)
            self.copy(meter)
        if self.size not in (None, meter.done):
            raise OSError(
                f"the download broke off after {meter.done} of {self.size} bytes. Received: path={self.location!r}"
            )


def check_free_space(folder: Path, needed: int, *, location: str) -> None:
    """Refuses a download that the disk of a folder has no room for.

    Args:
        folder: Where it goes.
        needed: Bytes that are still to come.
        location: The address.

    Raises:
        OSError: There is too little.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"expected {needed} bytes of free disk space in {folder}. Received: path={location!r}, free={free}"
        )


def first_line(error: object) -> str:
    """Returns the first line of what an error says, or its kind if it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


def checksum(file: BinaryIO) -> str:
    """Returns the CRC32C of a file's bytes in base64, as the storage tells it."""
    crc = 0
    while data := file.read(CHUNK):
        crc = google_crc32c.extend(crc, data)
    return _to_base64(crc)


def checksums(file: BinaryIO, *, size: int) -> tuple[int, str, str]:
    """Reads the first bytes of an open file once.

    Args:
        file: The file, at its beginning.
        size: Most bytes to read; those that others append meanwhile are not among them.

    Returns:
        How many bytes there were, their SHA-256 in hexadecimal digits, and their CRC32C as `checksum` gives it.
    """
    sha, crc, done = hashlib.sha256(), 0, 0
    while data := file.read(min(CHUNK, size - done)):
        sha.update(data)
        crc = google_crc32c.extend(crc, data)
        done += len(data)
    return done, sha.hexdigest(), _to_base64(crc)


def _to_base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


class _ProgressWriter:
    """Passes bytes on to a file, and tells how many."""

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
    """Returns the same of a file on disk."""
    with path.open("rb") as file:
        return checksum(file)
