"""Objects of Google Cloud Storage, or of another server with its API, given by STORAGE_EMULATOR_HOST.

Google's `transfer_manager` is not used: it supports no preconditions per object, does not resume a download, and leaves
half a file under its final name if a download fails.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from etils import epy

from ganlib.remote import bucket as limits
from ganlib.remote.bucket import PART, Bucket, Object, changed_error, conflict_error, is_full_disk
from ganlib.remote.file import RemoteError, first_line
from ganlib.remote.transfers import DownloadSink, UploadSource

with epy.lazy_imports():
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud import storage

DISABLE_METADATA_QUERY = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
FIELDS = "items(name,size,crc32c,generation,timeCreated),nextPageToken"


class GoogleBucket(Bucket):
    """A bucket of Google Cloud Storage."""

    scheme = "gs"

    def __init__(self, name: str, client: storage.Client) -> None:
        super().__init__(name)
        self._bucket = client.bucket(name)
        self._client = client

    @classmethod
    def connect(cls, name: str, location: str) -> GoogleBucket:
        """Connects to a bucket; the location is for messages."""
        # Otherwise the client requests metadata for tracing in a background thread, which retries for minutes and
        # draws its pauses from Python's `random`, from which Keras draws the seeds of weights.
        os.environ.setdefault(DISABLE_METADATA_QUERY, "true")
        with _translate_errors(location):
            return cls(name, storage.Client(project=None))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def translate_errors(self, location: str, *, done: str = "read") -> contextlib.AbstractContextManager[None]:
        """Translates the errors of Google's libraries into errors with one-line messages."""
        return _translate_errors(location, done=done)

    def find(self, name: str) -> Object | None:
        """Looks up an object; returns None if it, or the bucket, does not exist."""
        with self.translate_errors(self.address(name)):
            blob = self._bucket.get_blob(name, **_retry_options())
        return _to_object(blob) if blob else None

    def list_objects(self, prefix: str, *, most: int | None = None) -> Iterator[Object]:
        """Lists the objects whose names begin with a prefix."""
        with self.translate_errors(self.address(prefix).rstrip("/")):
            for blob in self._client.list_blobs(
                self.name, prefix=prefix, fields=FIELDS, max_results=most, **_retry_options()
            ):
                yield _to_object(blob)

    def start(self, item: Object, count: int) -> bytes:
        """Returns the first `count` stored bytes of an object, or all if there are fewer."""
        with self.translate_errors(self.address(item.name)), self._check_version(item):
            blob = self._blob(item)
            return bytes(blob.download_as_bytes(end=count - 1, raw_download=True, checksum=None, **_retry_options()))

    def delete(self, item: Object) -> None:
        """Removes an object of this version, if it still exists."""
        with self.translate_errors(self.address(item.name), done="removed"), contextlib.suppress(api.NotFound):
            try:
                self._bucket.blob(item.name).delete(if_generation_match=_generation(item), **_retry_options())
            except api.PreconditionFailed:
                if self.find(item.name):  # otherwise it was removed by this very request, whose answer was lost
                    raise

    def _receive(self, item: Object, sink: DownloadSink) -> Object:
        before = sink.done
        with self._check_version(item):
            try:
                self._blob(item).download_to_file(
                    sink, start=before or None, raw_download=True, checksum=None, **_retry_options()
                )
            except api.RetryError:
                if sink.done == before:
                    raise
        return item

    def _send(self, file: BinaryIO, name: str, *, replaces: Object | None, crc32c: str, size: int) -> Object | None:
        blob = self._bucket.blob(name, chunk_size=PART)
        blob.crc32c = crc32c
        try:
            blob.upload_from_file(
                UploadSource(file, stop=self._stop),
                size=size,
                content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                if_generation_match=_generation(replaces) if replaces else 0,
                checksum=None,
                **_retry_options(limits.WRITE_TIMEOUT),
            )
        except api.PreconditionFailed as error:
            raise conflict_error(self.address(name)) from error
        except api.BadRequest as error:
            if "CRC32C" not in str(error):
                raise
            return None
        except auth.GoogleAuthError:
            raise
        except ValueError:  # Google's library lost track of the parts, because the server stored less of one
            return None
        return _to_object(blob)

    def _blob(self, item: Object) -> storage.Blob:
        return self._bucket.blob(item.name, generation=_generation(item))

    @contextlib.contextmanager
    def _check_version(self, item: Object) -> Iterator[None]:
        try:
            yield
        except api.NotFound as error:
            if item.version is None:
                raise
            raise changed_error(self.address(item.name)) from error


@contextlib.contextmanager
def _translate_errors(location: str, *, done: str = "read") -> Iterator[None]:
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
        raise conflict_error(location) from error
    except (api.GoogleAPIError, auth.GoogleAuthError, OSError) as error:
        raise RemoteError(f"cannot be {done}: {_reason(error)}. Received: path={location!r}") from error


def _reason(error: object) -> str:
    if isinstance(error, api.RetryError):
        response = getattr(error.cause, "response", None)
        cause = f"the server answers {response.status_code}" if response is not None else first_line(error.cause)
        return f"{cause}, for {limits.TIMEOUT:g} s"
    return "no space left on this machine's disk" if is_full_disk(error) else first_line(error)


def _retry_options(timeout: float | None = None) -> dict[str, Any]:
    """Returns the options for how long a call is repeated, and for the timeout of each attempt."""
    retry = storage.retry.DEFAULT_RETRY.with_timeout(limits.TIMEOUT)
    pauses = retry.with_delay(initial=limits.FIRST_PAUSE, maximum=limits.LONGEST_PAUSE)
    return {"retry": pauses, "timeout": timeout or limits.READ_TIMEOUT}


def _generation(item: Object) -> int | None:
    return None if item.version is None else int(item.version)


def _to_object(blob: storage.Blob) -> Object:
    modified = round(blob.time_created.timestamp() * 10**6) * 1000
    return Object(blob.name, blob.size, modified, blob.crc32c, version=str(blob.generation))
