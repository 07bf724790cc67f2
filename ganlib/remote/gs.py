"""Objects of Google Cloud Storage; STORAGE_EMULATOR_HOST leads to another server that speaks its language.

Google's `transfer_manager` is not used: it takes no precondition for each object, does not go on where a download
broke off, and a file whose download failed lies there half under its own name.
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

THREADS = 10  # as many connections as a session of requests keeps
PART = 8 * 2**20  # bytes of one request of a large upload
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]")  # of a bucket
READ_TIMEOUT = 10.0  # seconds that one try waits for a byte
WRITE_TIMEOUT = 60.0  # seconds in which one try must have sent a part
FIRST_PAUSE = 0.25  # seconds before a second try; each later one is twice as long
DISABLE_METADATA_QUERY = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
FIELDS = "items(name,size,crc32c,generation,timeCreated),nextPageToken"

T = TypeVar("T")


class WriteConflict(RemoteError):  # noqa: N818  # it says what happened
    """Another process wrote to the same place since this one looked there."""


@dataclass(frozen=True, slots=True)
class Object:
    """What is known of an object.

    Attributes:
        name: Its name in the bucket.
        size: Bytes as they are stored.
        modified: When this content was written, by the server's clock, in nanoseconds.
        crc32c: Checksum in base64 (RFC 3720), or None if it is not known.
        generation: Number of this content, or None for whatever is there.
    """

    name: str
    size: int
    modified: int = 0
    crc32c: str | None = None
    generation: int | None = None


class Bucket:
    """What this project asks of a bucket; several threads may ask at once.

    What fails by a transient fault (408, 429, 5xx, a broken or silent connection) is tried anew for TIMEOUT seconds.
    A call raises `ValueError` for what the user must mend (nothing there, no permission), `WriteConflict` where another
    generation is there than was expected, and `RemoteError` otherwise.

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

    def run_parallel(
        self, work: Callable[[T], object], items: Iterable[T], *, progress: Progress | None = None
    ) -> None:
        """Does the work for every item, several at once; the first failure ends it, and all that passes here."""
        try:
            run_parallel(work, items, threads=THREADS, stop=self._stop, progress=progress)
        finally:
            self._stop = threading.Event()

    def address(self, name: str) -> str:
        """Returns the address of an object."""
        return f"gs://{self.name}/{name}"

    def find(self, name: str) -> Object | None:
        """Looks for an object; None if it, or the bucket, is not there."""
        with translate_errors(self.address(name)):
            blob = self._bucket.get_blob(name, **_retry_options())
        return _to_object(blob) if blob else None

    def below(self, prefix: str, *, most: int | None = None) -> Iterator[Object]:
        """Lists the objects whose names begin with a prefix."""
        with translate_errors(self.address(prefix).rstrip("/")):
            for blob in self._client.list_blobs(
                self.name, prefix=prefix, fields=FIELDS, max_results=most, **_retry_options()
            ):
                yield _to_object(blob)

    def copy(self, item: Object, sink: Sink, *, start: int = 0) -> None:
        """Writes the bytes of an object from `start` on, as they are stored; a broken connection is taken up again."""
        blob = self._bucket.blob(item.name, generation=item.generation)
        arrival = DownloadSink(sink, start=start, size=item.size, stop=self._stop)
        with translate_errors(self.address(item.name)), _check_generation(self.address(item.name), item.generation):
            while arrival.done < item.size:
                before = arrival.done
                try:
                    blob.download_to_file(
                        arrival, start=before or None, raw_download=True, checksum=None, **_retry_options()
                    )
                except api.RetryError:
                    if arrival.done == before:
                        raise
                if arrival.done == before:
                    raise OSError(f"the server sent nothing after {before} of {item.size} bytes")

    def start(self, item: Object, count: int) -> bytes:
        """Returns the first bytes of an object as they are stored, as many as are asked for if it has them."""
        blob = self._bucket.blob(item.name, generation=item.generation)
        with translate_errors(self.address(item.name)), _check_generation(self.address(item.name), item.generation):
            return bytes(blob.download_as_bytes(end=count - 1, raw_download=True, checksum=None, **_retry_options()))

    def read(self, item: Object, *, limit: int) -> bytes:
        """Returns the bytes of an object, whose checksum is right; one of more than `limit` bytes is refused."""
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
        """Writes an object, in parts if it is large; the server refuses what arrives damaged.

        Args:
            source: The file, which may be open, or its bytes.
            name: Name of the object.
            replaces: What is there, or None.
            crc32c: Checksum of the bytes.
            size: How many, from the first on; all of them if it is None.

        Raises:
            WriteConflict: Another generation with other bytes is there.
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
                    there = self.find(name)  # perhaps it is this very upload, whose answer was lost
                    if there is None or (there.crc32c, there.size) != (crc32c, size):
                        raise
                    return there
                except api.BadRequest as error:
                    if "CRC32C" not in str(error):
                        raise
                    continue
                except auth.GoogleAuthError:
                    raise
                except ValueError:  # Google's library lost count of the parts, since the storage kept less of one
                    continue
                if blob.crc32c == crc32c:
                    return _to_object(blob)
                generation = blob.generation
        raise checksum_error(self.address(name))

    def delete(self, item: Object) -> None:
        """Removes an object of this generation; it may be gone already."""
        with translate_errors(self.address(item.name), done="removed"), contextlib.suppress(api.NotFound):
            self._bucket.blob(item.name).delete(if_generation_match=item.generation, **_retry_options())


def connect(location: str) -> tuple[Bucket, str]:
    """Returns the bucket of an address, and the name in it, which may be empty."""
    name, _, path = location.removeprefix("gs://").partition("/")
    if not location.startswith("gs://") or not NAME.fullmatch(name):
        raise ValueError(f"expected an address of the form gs://bucket/name. Received: path={location!r}")
    # For tracing, the client would ask for the bucket in a thread of its own, which tries for minutes, may outlive it,
    # and draws its pauses from Python's `random`, as Keras does the seeds of weights.
    os.environ.setdefault(DISABLE_METADATA_QUERY, "true")
    with translate_errors(location):
        client = storage.Client(project=None)
    return Bucket(name, client), path


def folder_prefix(path: str) -> str:
    """Returns what the names of all objects below a path of a bucket begin with."""
    return f"{path.rstrip('/')}/" if path else ""


@contextlib.contextmanager
def open_bucket(location: str) -> Iterator[tuple[Bucket, str]]:
    """Gives the bucket of an address, and the name in it; its connections are closed at the end."""
    place, path = connect(location)
    with contextlib.closing(place):
        yield place, path


def checksum_error(location: str) -> RemoteError:
    """Returns the error for bytes that are not what they should be."""
    return RemoteError(f"the checksum of what arrived is not the object's. Received: path={location!r}")


@contextlib.contextmanager
def translate_errors(location: str, *, done: str = "read") -> Iterator[None]:
    """Turns what Google's libraries raise into one line."""
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
        raise RemoteError(f"it was changed or removed since it was looked up. Received: path={location!r}") from error


def _reason(error: object) -> str:
    if isinstance(error, api.RetryError):
        response = getattr(error.cause, "response", None)
        lasting = f"the server answers {response.status_code}" if response is not None else first_line(error.cause)
        return f"{lasting}, for {TIMEOUT:g} s"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on this machine's disk"
    return first_line(error)


def _retry_options(timeout: float | None = None) -> dict[str, Any]:
    """Returns how long each call tries, and how long one try may be silent."""
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
