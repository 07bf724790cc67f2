"""A bucket of any storage, as publication, mirrors and folders know it. The storages are in `gs.py` and `s3.py`."""

from __future__ import annotations

import abc
import contextlib
import errno
import functools
import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar, TypeVar

from ganlib.progress import Progress
from ganlib.remote import file as remote_file
from ganlib.remote.file import TRIES, RemoteError, Sink, checksum
from ganlib.remote.transfers import DownloadSink, run_parallel

THREADS = 10  # the number of connections that a client keeps open
PART = 8 * 2**20  # bytes per request of a large upload
TIMEOUT = remote_file.TIMEOUT  # seconds for which a request that fails for a transient reason is repeated
READ_TIMEOUT = 10.0  # seconds that one attempt waits for a byte
WRITE_TIMEOUT = 60.0  # seconds that one attempt has to send a part
FIRST_PAUSE = 0.25  # seconds before the second attempt; each later pause is twice as long
LONGEST_PAUSE = 8.0
MD5 = functools.partial(hashlib.md5, usedforsecurity=False)

T = TypeVar("T")


class WriteConflict(RemoteError):  # noqa: N818  # the name says what happened
    """Another process has written to the same address since this one read it."""


@dataclass(frozen=True, slots=True)
class Object:
    """Metadata of an object. It has at most one of the two checksums.

    Attributes:
        name: Its name in the bucket.
        size: Stored size in bytes.
        modified: Time when this content was written, by the server's clock, in nanoseconds; 0 if it is not known, as
            after an upload to S3.
        crc32c: Checksum in base64 (RFC 3720), or None if it is not known.
        md5: Checksum in hexadecimal digits, or None if it is not known.
        version: Identifier of this version of the content: Google's generation, or the ETag of S3. None for the
            current version.
        fraction: Nanoseconds below a second that stand for the version, if the server's times have whole seconds.
    """

    name: str
    size: int
    modified: int = 0
    crc32c: str | None = None
    md5: str | None = None
    version: str | None = None
    fraction: int = 0

    @property
    def local_time(self) -> int:
        """Time of a local copy in nanoseconds. It tells versions apart."""
        return self.modified + self.fraction

    @property
    def identity(self) -> str | None:
        """A text that changes with the content: the checksum, or else the version."""
        return self.crc32c or self.md5 or self.version

    @property
    def has_checksum(self) -> bool:
        """Whether a checksum is known."""
        return self.crc32c is not None or self.md5 is not None

    def matches(self, path: Path) -> bool:
        """Returns whether a file has the size and checksum of the object; without a checksum, its size and time."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        return self.is_intact(path) if self.has_checksum else path.stat().st_mtime_ns == self.local_time

    def is_intact(self, path: Path) -> bool:
        """Returns whether a downloaded file has the checksum of the object; True if it is not known."""
        with path.open("rb") as file:
            return self.describes(file)

    def describes(self, file: io.BufferedReader | io.BytesIO) -> bool:
        """Returns whether the bytes of an open file have the checksum; True if it is not known."""
        if self.crc32c is not None:
            return self.crc32c == checksum(file)
        if self.md5 is not None:
            return self.md5 == hashlib.file_digest(file, MD5).hexdigest()
        return True


class Bucket(abc.ABC):
    """A bucket. It can be used by several threads at once.

    Requests that fail for a transient reason (408, 429, 5xx, a broken or silent connection) are repeated for TIMEOUT
    seconds. Methods raise `ValueError` for what the user must fix (nothing exists, no permission), `WriteConflict` if
    the version is not the expected one, and `RemoteError` otherwise.

    Attributes:
        scheme: Beginning of its addresses, such as `gs`.
        name: Its name.
    """

    scheme: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.name = name
        self._stop = threading.Event()

    def for_each(self, work: Callable[[T], object], items: Iterable[T], *, progress: Progress | None = None) -> None:
        """Does the work for every item, several at a time. The first failure stops it, and all transfers with it."""
        try:
            run_parallel(work, items, threads=THREADS, stop=self._stop, progress=progress)
        finally:
            self._stop = threading.Event()

    def address(self, name: str) -> str:
        """Returns the address of an object."""
        return f"{self.scheme}://{self.name}/{name}"

    @classmethod
    @abc.abstractmethod
    def connect(cls, name: str, location: str) -> Bucket:
        """Connects to a bucket; the location is for messages."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the connections."""

    @abc.abstractmethod
    def translate_errors(self, location: str, *, done: str = "read") -> AbstractContextManager[None]:
        """Translates the errors of the storage's library into errors with one-line messages."""

    @abc.abstractmethod
    def find(self, name: str) -> Object | None:
        """Looks up an object; returns None if it, or the bucket, does not exist."""

    @abc.abstractmethod
    def list_objects(self, prefix: str, *, most: int | None = None) -> Iterator[Object]:
        """Lists the objects whose names begin with a prefix. The listing of S3 has no checksums."""

    @abc.abstractmethod
    def start(self, item: Object, count: int) -> bytes:
        """Returns the first `count` stored bytes of an object, or all if there are fewer."""

    def check_writes(self, name: str) -> None:  # noqa: B027  # most storages need no check
        """Checks that the server can do what all later uploads need, also of large files.

        Args:
            name: Name of an object that may be written.

        Raises:
            ValueError: It cannot, or permission is missing.
        """

    @abc.abstractmethod
    def delete(self, item: Object) -> None:
        """Removes an object of this version, if it still exists."""

    @abc.abstractmethod
    def _receive(self, item: Object, sink: DownloadSink) -> Object:
        """Writes the bytes from `sink.done` on, or some of them; returns the object with the server's checksum."""

    @abc.abstractmethod
    def _send(self, file: BinaryIO, name: str, *, replaces: Object | None, crc32c: str, size: int) -> Object | None:
        """Writes an object; returns None if the bytes arrived damaged and must be sent again."""

    def copy(self, item: Object, sink: Sink, *, start: int = 0) -> Object:
        """Writes the stored bytes of an object, from `start` on, to a sink. Resumes after a broken connection.

        Returns:
            The object, with a checksum if the server reports one.
        """
        counter = DownloadSink(sink, start=start, size=item.size, stop=self._stop)
        with self.translate_errors(self.address(item.name)):
            while counter.done < item.size:
                before = counter.done
                item = self._receive(item, counter)
                if counter.done == before:
                    raise OSError(f"the server sent nothing after {before} of {item.size} bytes")
        return item

    def read(self, item: Object, *, limit: int) -> bytes:
        """Returns the bytes of an object, verified by its checksum. Refuses more than `limit` bytes."""
        if item.size > limit:
            raise ValueError(
                f"expected an object of at most {limit} bytes. "
                f"Received: path={self.address(item.name)!r}, bytes={item.size}"
            )
        for _ in range(TRIES):
            received = self.copy(item, sink := io.BytesIO())
            if received.describes(io.BytesIO(sink.getvalue())):
                return sink.getvalue()
        raise checksum_error(self.address(item.name))

    def upload(
        self,
        source: Path | BinaryIO | bytes,
        name: str,
        *,
        replaces: Object | None,
        crc32c: str,
        size: int | None = None,
    ) -> Object:
        """Writes an object, in parts if it is large. The server rejects damaged uploads.

        Args:
            source: A path, an open file, or the bytes.
            name: Name of the object.
            replaces: The existing object, or None if there is none.
            crc32c: Checksum of the bytes.
            size: Number of bytes to upload, from the first on. Default: all.

        Raises:
            WriteConflict: Another version with other bytes exists.
        """
        with self.translate_errors(self.address(name), done="written"), _open_source(source) as file:
            size = file.seek(0, io.SEEK_END) if size is None else size
            for _ in range(TRIES):
                file.seek(0)
                try:
                    item = self._send(file, name, replaces=replaces, crc32c=crc32c, size=size)
                except WriteConflict:
                    existing = self.find(name)  # perhaps from this very upload, if its answer was lost
                    if existing is None or (existing.crc32c, existing.size) != (crc32c, size):
                        raise
                    return existing
                if item is not None and item.crc32c == crc32c:
                    return item
                replaces = item or replaces
        raise checksum_error(self.address(name))


def with_checksums(files: Mapping[str, Object], known: Mapping[str, Object]) -> dict[str, Object]:
    """Returns objects of a listing with checksums that are known from elsewhere, if the version is the same."""

    def fill(name: str, item: Object) -> Object:
        other = known.get(name)
        if item.crc32c is not None or other is None or other.version is None or other.version != item.version:
            return item
        return replace(item, crc32c=other.crc32c)

    return {name: fill(name, item) for name, item in files.items()}


def folder_prefix(path: str) -> str:
    """Returns the common prefix of the names of all objects below a path of a bucket."""
    return f"{path.rstrip('/')}/" if path else ""


def checksum_error(location: str) -> RemoteError:
    """Returns the error for a transfer with a wrong checksum."""
    return RemoteError(f"the transferred bytes have a wrong checksum. Received: path={location!r}")


def conflict_error(location: str) -> WriteConflict:
    """Returns the error for an object that another process has written."""
    return WriteConflict(f"another process has written there meanwhile. Received: path={location!r}")


def changed_error(location: str) -> RemoteError:
    """Returns the error for an object that cannot be read any more as it was listed."""
    return RemoteError(f"it was changed or removed after it was listed. Received: path={location!r}")


def is_full_disk(error: object) -> bool:
    """Returns whether an error tells of a full disk of this machine."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


@contextlib.contextmanager
def _open_source(source: Path | BinaryIO | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        yield io.BytesIO(source) if isinstance(source, bytes) else source
