"""Objects of Google Cloud Storage; STORAGE_EMULATOR_HOST leads to another server that speaks its language."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from etils import epy

from ganlib.remote.file import PATIENCE, RemoteFile, Sink, first_line

with epy.lazy_imports():
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud import storage


@contextlib.contextmanager
def opened(location: str) -> Iterator[RemoteFile]:
    """Asks for an object; see `ganlib.remote.opened`."""
    bucket, _, name = location.removeprefix("gs://").partition("/")
    if not name or name.endswith("/"):
        raise ValueError(f"only single files can be fetched so far, not folders. Received: path={location!r}")
    retry = storage.retry.DEFAULT_RETRY.with_timeout(PATIENCE)
    with _explained(location):
        client = storage.Client(project=None)
    with contextlib.closing(client):
        with _explained(location):
            blob = client.bucket(bucket).get_blob(name, retry=retry)
            below = [] if blob else list(client.list_blobs(bucket, prefix=f"{name}/", max_results=1, retry=retry))
        if below:
            raise ValueError(f"only single files can be fetched so far, not folders. Received: path={location!r}")
        if blob is None:
            raise ValueError(f"no such object. Received: path={location!r}")

        def copy(sink: Sink) -> None:
            with _explained(location):  # as it is stored, since that is what size and checksum are of
                blob.download_to_file(sink, raw_download=True, checksum=None, retry=retry)

        yield RemoteFile(location, blob.size, round(blob.updated.timestamp() * 10**6) * 1000, blob.crc32c, copy)


@contextlib.contextmanager
def _explained(location: str) -> Iterator[None]:
    """Turns what Google's libraries raise into one line."""
    try:
        yield
    except auth.DefaultCredentialsError as error:
        raise ValueError(
            "no credentials: expected those of `gcloud auth application-default login`, or a key file in "
            f"GOOGLE_APPLICATION_CREDENTIALS. Received: path={location!r}"
        ) from error
    except (api.Unauthorized, api.Forbidden) as error:
        raise ValueError(f"access is denied ({error.code}). Received: path={location!r}") from error
    except api.NotFound as error:
        raise ValueError(f"no such bucket or object. Received: path={location!r}") from error
    except (api.GoogleAPIError, auth.GoogleAuthError, OSError) as error:
        raise OSError(f"cannot be read: {first_line(error)}. Received: path={location!r}") from error
