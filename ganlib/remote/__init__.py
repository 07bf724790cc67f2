"""Files at an address, and folders that are kept in a bucket."""

from __future__ import annotations

import contextlib
import re
import urllib.parse

from ganlib.remote import folder, https
from ganlib.remote.file import RemoteError, RemoteFile
from ganlib.remote.folder import RemoteFolder, content, listed, start
from ganlib.remote.gs import Object, TakenOver
from ganlib.remote.mirror import Mirror
from ganlib.remote.publication import NotWhole, is_foreign, publish

__all__ = [
    "Mirror",
    "NotWhole",
    "Object",
    "RemoteError",
    "RemoteFile",
    "RemoteFolder",
    "TakenOver",
    "content",
    "file_name",
    "is_foreign",
    "listed",
    "opened",
    "publish",
    "start",
]

LONGEST_NAME = 100


def opened(location: str) -> contextlib.AbstractContextManager[RemoteFile | RemoteFolder]:
    """Asks for a file, or a folder of a bucket; its bytes can be read while the context lasts.

    Args:
        location: Address that begins with `https://` or `gs://`.

    Raises:
        ValueError: The address is of another kind, nothing is there, or it may not be read.
        OSError: The server cannot be reached, or does not answer as it should.
    """
    scheme = location.partition("://")[0]
    if scheme == "https":
        return https.opened(location)
    if scheme == "gs":
        return folder.opened(location)
    if scheme == "http":
        raise ValueError(
            f"http:// is refused, since anyone on the way could change the file. Received: path={location!r}"
        )
    raise ValueError(f"expected a path of this machine, https:// or gs://. Received: path={location!r}")


def file_name(location: str) -> str:
    """Returns the last part of an address, in letters that any disk takes."""
    path = re.split("[?#]", location)[0] if location.startswith("https://") else location
    name = urllib.parse.unquote(path).rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]", "_", name)[-LONGEST_NAME:]
