"""Objects of Google Cloud Storage, or of another server with its API, given by STORAGE_EMULATOR_HOST.

Google's `transfer_manager` is not used: it supports no preconditions per object, does not resume a download, and leaves
half a file under its final name if a download fails.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mimetypes
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from etils import epy

from ganlib.progress import Progress
from ganlib.remote.file import TIMEOUT, TRIES, RemoteError, Sink, checksum, first_line
from ganlib.remote.transfers import DownloadSink, UploadSource, run_parallel

with epy.lazy_imports():
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud import storage

THREADS = 10  # the number of connections that a session of `requests` keeps open
PART = 8 * 2**20  # bytes per request of a large upload
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]")  # of a bucket
READ_TIMEOUT = 10.0  # seconds that one attempt waits for a byte
WRITE_TIMEOUT = 60.0  # seconds that one attempt has to send a part
FIRST_PAUSE = 0.25  # seconds before the second attempt; each later pause is twice as long
DISABLE_METADATA_QUERY = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
FIELDS = "items(name,size,crc32c,generation,timeCreated),nextPageToken"

T = TypeVar("T")


class WriteConflict(RemoteError):  # noqa: N818  # the name says what happened
    """Another process has written to the same address since this one read it."""


@dataclass(frozen=True, slots=True)
class Object:
    """Metadata of an object.

    Attributes:
        name: Its name in the bucket.
        size: Stored size in bytes.
        modified: Time when this content was written, by the server's clock, in nanoseconds.
        crc32c: Checksum in base64 (RFC 3720), or None if it is not known.
        generation: Number of this version of the content, or None for the current version.
    """

    name: str
    size: int
    modified: int = 0
    crc32c: str | None = None
    generation: int | None = None


class Bucket:
    """A bucket. It can be used by several threads at once.

    Requests that fail for a transient reason (408, 429, 5xx, a broken or silent connection) are repeated for TIMEOUT
    seconds. Methods raise `ValueError` for what the user must fix (nothing exists, no permission), `WriteConflict` if
    the generation is not the expected one, and `RemoteError` otherwise.

    Attributes:
        name: Its name.
    """

    def __init__(self, name: str, client: storage.Client) -> None:
        self.name = name
        self._bucket = client.bucket(name)
        self._client = client
        self._stop = threading.Event()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def for_each(self, work: Callable[[T], object], items: Iterable[T], *, progress: Progress | None = None) -> None:
        """Does the work for every item, several at a time. The first failure stops it, and all transfers with it."""
        try:
            run_parallel(work, items, threads=THREADS, stop=self._stop, progress=progress)
        finally:
            self._stop = threading.Event()

    def address(self, name: str) -> str:
        """Returns the address of an object."""
        return f"gs://{self.name}/{name}"

    def find(self, name: str) -> Object | None:
        """Looks up an object; returns None if it, or the bucket, does not exist."""
        with translate_errors(self.address(name)):
            blob = self._bucket.get_blob(name, **_retry_options())
        return _to_object(blob) if blob else None

    def list_objects(self, prefix: str, *, most: int | None = None) -> Iterator[Object]:
        """Lists the objects whose names begin with a prefix."""
        with translate_errors(self.address(prefix).rstrip("/")):
            for blob in self._client.list_blobs(
                self.name, prefix=prefix, fields=FIELDS, max_results=most, **_retry_options()
            ):
                yield _to_object(blob)

    def copy(self, item: Object, sink: Sink, *, start: int = 0) -> None:
        """Writes the stored bytes of an object, from `start` on, to a sink. Resumes after a broken connection."""
        blob = self._bucket.blob(item.name, generation=item.generation)
        counter = DownloadSink(sink, start=start, size=item.size, stop=self._stop)
        with translate_errors(self.address(item.name)), _check_generation(self.address(item.name), item.generation):
            while counter.done < item.size:
                before = counter.done
                try:
                    blob.download_to_file(
                        counter, start=before or None, raw_download=True, checksum=None, **_retry_options()
                    )
                except api.RetryError:
                    if counter.done == before:
                        raise
                if counter.done == before:
                    raise OSError(f"the server sent nothing after {before} of {item.size} bytes")

    def start(self, item: Object, count: int) -> bytes:
        """Returns the first `count` stored bytes of an object, or all if there are fewer."""
        blob = self._bucket.blob(item.name, generation=item.generation)
        with translate_errors(self.address(item.name)), _check_generation(self.address(item.name), item.generation):
            return bytes(blob.download_as_bytes(end=count - 1, raw_download=True, checksum=None, **_retry_options()))

    def read(self, item: Object, *, limit: int) -> bytes:
        """Returns the bytes of an object, verified by its checksum. Refuses more than `limit` bytes."""
        if item.size > limit:
            raise ValueError(
                f"expected an object of at most {limit} bytes. "
                f"Received: path={self.address(item.name)!r}, bytes={item.size}"
            )
        for _ in range(TRIES):
            self.copy(item, sink := io.BytesIO())
            if item.crc32c in (None, checksum(io.BytesIO(sink.getvalue()))):
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
            WriteConflict: Another generation with other bytes exists.
        """
        with translate_errors(self.address(name), done="written"), _open_source(source) as file:
            size = file.seek(0, io.SEEK_END) if size is None else size
            generation = 0 if replaces is None else replaces.generation
            for _ in range(TRIES):
                blob = self._bucket.blob(name, chunk_size=PART)
                blob.crc32c = crc32c
                try:
                    blob.upload_from_file(
                        UploadSource(file, stop=self._stop),
                        rewind=True,
                        size=size,
                        content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                        if_generation_match=generation,
                        checksum=None,
                        **_retry_options(WRITE_TIMEOUT),
                    )
                except api.PreconditionFailed:
                    existing = self.find(name)  # perhaps from this very upload, if its answer was lost
                    if existing is None or (existing.crc32c, existing.size) != (crc32c, size):
                        raise
                    return existing
                except api.BadRequest as error:
                    if "CRC32C" not in str(error):
                        raise
                    continue
                except auth.GoogleAuthError:
                    raise
                except ValueError:  # Google's library lost track of the parts, because the server stored less of one
                    continue
                if blob.crc32c == crc32c:
                    return _to_object(blob)
                generation = blob.generation
        raise checksum_error(self.address(name))

    def delete(self, item: Object) -> None:
        """Removes an object of this generation, if it still exists."""
        with translate_errors(self.address(item.name), done="removed"), contextlib.suppress(api.NotFound):
            self._bucket.blob(item.name).delete(if_generation_match=item.generation, **_retry_options())


def connect(location: str) -> tuple[Bucket, str]:
    """Returns the bucket of an address, and the name within the bucket, which may be empty."""
    name, _, path = location.removeprefix("gs://").partition("/")
    if not location.startswith("gs://") or not NAME.fullmatch(name):
        raise ValueError(f"expected an address of the form gs://bucket/name. Received: path={location!r}")
    # Otherwise the client requests metadata for tracing in a background thread, which retries for minutes and draws
    # its pauses from Python's `random`, from which Keras draws the seeds of weights.
    os.environ.setdefault(DISABLE_METADATA_QUERY, "true")
    with translate_errors(location):
        client = storage.Client(project=None)
    return Bucket(name, client), path


def folder_prefix(path: str) -> str:
    """Returns the common prefix of the names of all objects below a path of a bucket."""
    return f"{path.rstrip('/')}/" if path else ""


@contextlib.contextmanager
def open_bucket(location: str) -> Iterator[tuple[Bucket, str]]:
    """Yields the bucket of an address, and the name within it. Closes the connections at the end."""
    place, path = connect(location)
    with contextlib.closing(place):
        yield place, path


def checksum_error(location: str) -> RemoteError:
    """Returns the error for a transfer with a wrong checksum."""
    return RemoteError(f"the transferred bytes have a wrong checksum. Received: path={location!r}")


@contextlib.contextmanager
def translate_errors(location: str, *, done: str = "read") -> Iterator[None]:
    """Translates the errors of Google's libraries into errors with one-line messages."""
    try:
        yield
    except RemoteError:
        raise
    except auth.DefaultCredentialsError as error:
        raise ValueError(
            "no credentials: expected those of `gcloud auth application-default login`, or a key file in "
            f"GOOGLE_APPLICATION_CREDENTIALS. Received: path={location!r}"
        ) from error
    except (api.Unauthorized, api.Forbidden) as error:
        raise ValueError(f"access is denied ({error.code}). Received: path={location!r}") from error
    except api.NotFound as error:
        raise ValueError(f"no such bucket or object. Received: path={location!r}") from error
    except api.PreconditionFailed as error:
        raise WriteConflict(f"another process has written there meanwhile. Received: path={location!r}") from error
    except (api.GoogleAPIError, auth.GoogleAuthError, OSError) as error:
        raise RemoteError(f"cannot be {done}: {_reason(error)}. Received: path={location!r}") from error


@contextlib.contextmanager
def _check_generation(location: str, generation: int | None) -> Iterator[None]:
    try:
        yield
    except api.NotFound as error:
        if generation is None:
            raise
        raise RemoteError(f"it was changed or removed after it was listed. Received: path={location!r}") from error


def _reason(error: object) -> str:
    if isinstance(error, api.RetryError):
        response = getattr(error.cause, "response", None)
        cause = f"the server answers {response.status_code}" if response is not None else first_line(error.cause)
        return f"{cause}, for {TIMEOUT:g} s"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on this machine's disk"
    return first_line(error)


def _retry_options(timeout: float | None = None) -> dict[str, Any]:
    """Returns the options for how long a call is repeated, and for the timeout of each attempt."""
    retry = storage.retry.DEFAULT_RETRY.with_timeout(TIMEOUT).with_delay(initial=FIRST_PAUSE, maximum=8.0)
    return {"retry": retry, "timeout": timeout or READ_TIMEOUT}


def _to_object(blob: storage.Blob) -> Object:
    modified = round(blob.time_created.timestamp() * 10**6) * 1000
    return Object(blob.name, blob.size, modified, blob.crc32c, blob.generation)


@contextlib.contextmanager
def _open_source(source: Path | BinaryIO | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        yield io.BytesIO(source) if isinstance(source, bytes) else source
