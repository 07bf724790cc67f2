"""The interface to all storage: fetch and publish, atomic files, and mirrors in a bucket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, overload

from ganlib import remote
from ganlib.files import (
    append_line,
    atomic_file,
    atomic_folder,
    canonical_json,
    lock_file,
    lock_folder,
    read_json,
    read_lines,
    remove_partial_files,
    sha256,
    write_json,
    write_lines,
)
from ganlib.remote import (
    Mirror,
    RemoteError,
    RemoteFolder,
    WriteConflict,
    has_foreign_objects,
    is_bucket,
    list_folder,
)

__all__ = [
    "Mirror",
    "RemoteError",
    "RemoteFolder",
    "WriteConflict",
    "append_line",
    "atomic_file",
    "atomic_folder",
    "cache_folder",
    "cache_path",
    "canonical_json",
    "fetch",
    "has_foreign_objects",
    "is_bucket",
    "is_remote",
    "list_folder",
    "lock_file",
    "lock_folder",
    "publish",
    "read_json",
    "read_lines",
    "remove_partial_files",
    "sha256",
    "write_json",
    "write_lines",
]

CACHE = "GAN_PIPELINES_CACHE"


def is_remote(location: str) -> bool:
    """Returns whether a location is an address instead of a local path."""
    return "://" in location


def local_path(location: str) -> Path:
    """Returns the path of a file or folder, without the split that `FOLDER#test` names, unless it has such a name."""
    path = Path(location).expanduser()
    return path if path.exists() else Path(location.rpartition("#")[0] or location).expanduser()


def absolute(location: str) -> str:
    """Returns a path as absolute path; addresses are unchanged. The path may not exist."""
    return location if is_remote(location) else str(Path(location).expanduser().resolve())


def fetch(location: str, *, check: Callable[[Path], object] | None = None) -> Path:
    """Returns a local path for a location. Remote files are downloaded once to `cache_folder`.

    If several processes need the same file, one downloads it and the others wait.

    A cached file is downloaded again if the remote one has changed, according to checksums for buckets, and to size
    and Last-Modified for `https://` as far as the server reports them. Objects in `s3://` that other programs have
    uploaded may have no checksum; then size, time and ETag count. Of a folder, only changed files are downloaded.
    An interrupted download is resumed. If the remote side cannot be reached, the cached file is used.

    Args:
        location: A local path, in which `~` is expanded; the `https://` address of a file; or the address of an
            object or a folder of a bucket. A folder that `publish` has not written completely is refused.
        check: Called with the downloaded file before it is cached; an error from it rejects the file.

    Raises:
        ValueError: Nothing exists there, it may not be read, or the address has another scheme.
        OSError: The download failed.
    """
    if is_remote(location):
        return _fetch_remote(location, check)
    path = Path(location).expanduser()
    if not path.exists():
        raise ValueError(f"no such file or folder. Received: path={str(path)!r}")
    return path


def remote_version(location: str, *, folders: bool = False) -> str | None:
    """Returns what the server reports about a file: its size, and its checksum or the time of its last change.

    Nothing is downloaded.

    Args:
        location: A local path or an address.
        folders: Whether to return the same about all objects of a folder of a bucket.

    Returns:
        The facts as text; None for a local path, and for a folder unless it is wanted.

    Raises:
        ValueError: Nothing exists there, it may not be read, or the address has another scheme.
        OSError: The server cannot be reached.
    """
    if not is_remote(location):
        return None
    with remote.open_location(location) as source:
        if isinstance(source, RemoteFolder):
            return source.version if folders else None
        return f"{source.size} {source.identity or source.modified}"


def cache_folder() -> Path:
    """Returns the folder of downloads: GAN_PIPELINES_CACHE, or `gan-pipelines` in the user's cache folder.

    Raises:
        ValueError: The variable contains an address.
    """
    own = os.environ.get(CACHE)
    if own and is_remote(own):
        raise ValueError(f"expected a folder, such as one of a mounted volume or bucket. Received: {CACHE}={own!r}")
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(users) / "gan-pipelines").expanduser()


def _fetch_remote(location: str, check: Callable[[Path], object] | None) -> Path:
    cached = [cache_path(location), cache_path(_as_folder(location))]
    path = _update_cache(location, check, download=False) if any(path.exists() for path in cached) else None
    if path is None:
        with lock_file(cached[0]):
            path = _update_cache(location, check, download=True)
    return path


@overload
def _update_cache(location: str, check: Callable[[Path], object] | None, *, download: Literal[True]) -> Path: ...
@overload
def _update_cache(
    location: str, check: Callable[[Path], object] | None, *, download: Literal[False]
) -> Path | None: ...
def _update_cache(location: str, check: Callable[[Path], object] | None, *, download: bool) -> Path | None:
    """Returns the cached path if it is still current; otherwise downloads, or returns None without `download`."""
    folder = _as_folder(location)
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(remote.open_location(location))
        except remote.IncompleteFolder:  # the remote side was reached, so the cache is not used
            raise
        except OSError as error:
            for path in (cache_path(location), cache_path(folder)):
                if path.exists():
                    print(f"fetch: {error}; using the earlier download {path}", flush=True)
                    return path
            raise
        path = cache_path(location if isinstance(source, remote.RemoteFile) else folder)
        if path.exists() and source.matches(path):
            print(f"fetch: {location} is cached in {path}", flush=True)
            return path
        if not download:
            return None
        print(f"fetch: {location}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, remote.RemoteFolder):
            source.download(path)
            return path
        with atomic_file(path) as temporary:
            source.download(temporary)
            if check is not None:
                check(temporary)
    return path


def _as_folder(location: str) -> str:
    return f"{location.rstrip('/')}/"


def cache_path(location: str) -> Path:
    """Returns the path at which `fetch` caches an address."""
    digest = hashlib.sha256(location.encode()).hexdigest()[:16]
    return cache_folder() / f"{digest}-{remote.file_name(location)}"


def publish(source: Path, target: Path | str) -> None:
    """Copies a file or folder atomically to its target, replacing what is there.

    In a bucket, the objects have plain names. A folder has one more object, `.published.json`, which says whether it is
    complete (see `ganlib.remote.publication`). Objects that others put into the folder stay there.

    Args:
        source: File or folder to copy.
        target: A local path or an address in a bucket.

    Raises:
        ValueError: The address has another scheme, its bucket does not exist, or it may not be written to.
        WriteConflict: Another process publishes there at the same time.
        OSError: It could not be written.
    """
    if isinstance(target, str) and is_remote(target):
        remote.publish(source, target)
        return
    target = Path(target).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        with atomic_file(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    with atomic_folder(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
