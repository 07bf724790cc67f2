"""Access to files on web servers, and to files and folders in buckets."""

from __future__ import annotations

import contextlib
import re
import urllib.parse

from ganlib.remote import folder, https
from ganlib.remote.bucket import Object, WriteConflict
from ganlib.remote.connection import STORAGES, is_bucket
from ganlib.remote.file import RemoteError, RemoteFile
from ganlib.remote.folder import RemoteFolder, list_folder, read_content, read_start
from ganlib.remote.mirror import Mirror
from ganlib.remote.publication import IncompleteFolder, has_foreign_objects, publish

__all__ = [
    "IncompleteFolder",
    "Mirror",
    "Object",
    "RemoteError",
    "RemoteFile",
    "RemoteFolder",
    "WriteConflict",
    "file_name",
    "has_foreign_objects",
    "is_bucket",
    "list_folder",
    "open_location",
    "publish",
    "read_content",
    "read_start",
]

LONGEST_NAME = 100


def open_location(location: str) -> contextlib.AbstractContextManager[RemoteFile | RemoteFolder]:
    """Opens a file, or a folder of a bucket. Its bytes can be read within the context.

    Args:
        location: Address that begins with `https://`, `gs://` or `s3://`.

    Raises:
        ValueError: The address has another scheme, nothing exists there, or it may not be read.
        OSError: The server cannot be reached, or gives an unexpected answer.
    """
    scheme = location.partition("://")[0]
    if scheme == "https":
        return https.open_location(location)
    if scheme in STORAGES:
        return folder.open_location(location)
    if scheme == "http":
        raise ValueError(
            f"http:// is refused, because the file could be changed on the way. Received: path={location!r}"
        )
    raise ValueError(f"expected a local path, https://, gs:// or s3://. Received: path={location!r}")


def file_name(location: str) -> str:
    """Returns the last part of an address, in characters that any file system accepts."""
    path = re.split("[?#]", location)[0] if location.startswith("https://") else location
    name = urllib.parse.unquote(path).rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]", "_", name)[-LONGEST_NAME:]
