"""The door through which data comes and goes: fetch and publish, whole files, mirrors in a bucket."""

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
from ganlib.remote import Mirror, RemoteError, RemoteFolder, WriteConflict, has_foreign_objects, list_folder

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
    """Says whether a location is an address, and no path of this machine."""
    return "://" in location


def fetch(location: str, *, check: Callable[[Path], object] | None = None) -> Path:
    """Returns a local path for a location; what is remote is downloaded once and kept in `cache_folder`.

    Of several processes that want the same, one downloads it, and the others wait.

    What is kept is downloaded anew if the other side has something else: by the objects' checksums for `gs://`, by
    size and Last-Modified for `https://` as far as the server tells them. Of a folder only what has changed is; a
    download that broke off goes on where it was. Where the other side cannot be reached, what is kept is taken.

    Args:
        location: A path of this machine, `~` being expanded; the `https://` address of a file; or the `gs://` address
            of an object or of a folder. One that `publish` is writing, or has not written to the end, is refused.
        check: Refuses a file that has been downloaded, by an error, before it is kept.

    Raises:
        ValueError: Nothing is there, it may not be read, or the address is of another kind.
        OSError: It could not be downloaded.
    """
    if is_remote(location):
        return _fetched(location, check)
    path = Path(location).expanduser()
    if not path.exists():
        raise ValueError(f"no such file or folder. Received: path={str(path)!r}")
    return path


def cache_folder() -> Path:
    """Returns the folder of downloads: GAN_PIPELINES_CACHE, or `gan-pipelines` in the user's cache.

    Raises:
        ValueError: The variable holds an address.
    """
    own = os.environ.get(CACHE)
    if own and is_remote(own):
        raise ValueError(f"expected a folder, such as one of a mounted volume or bucket. Received: {CACHE}={own!r}")
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(users) / "gan-pipelines").expanduser()


def _fetched(location: str, check: Callable[[Path], object] | None) -> Path:
    kept = [cache_path(location), cache_path(_as_folder(location))]
    found = _asked(location, check, download=False) if any(path.exists() for path in kept) else None
    if found is None:
        with lock_file(kept[0]):
            found = _asked(location, check, download=True)
    return found


@overload
def _asked(location: str, check: Callable[[Path], object] | None, *, download: Literal[True]) -> Path: ...
@overload
def _asked(location: str, check: Callable[[Path], object] | None, *, download: Literal[False]) -> Path | None: ...
def _asked(location: str, check: Callable[[Path], object] | None, *, download: bool) -> Path | None:
    """Asks the other side, and returns what is kept if it is the same; else what is downloaded, or None."""
    folder = _as_folder(location)
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(remote.open_location(location))
        except remote.IncompleteFolder:  # that is an answer
            raise
        except OSError as error:
            for kept in (cache_path(location), cache_path(folder)):
                if kept.exists():
                    print(f"fetch: {error}; what was downloaded before is taken: {kept}", flush=True)
                    return kept
            raise
        kept = cache_path(location if isinstance(found, remote.RemoteFile) else folder)
        if kept.exists() and found.matches(kept):
            print(f"fetch: {location} is here already: {kept}", flush=True)
            return kept
        if not download:
            return None
        print(f"fetch: {location}", flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(found, remote.RemoteFolder):
            found.download(kept)
            return kept
        with atomic_file(kept) as temporary:
            found.download(temporary)
            if check is not None:
                check(temporary)
    return kept


def _as_folder(location: str) -> str:
    return f"{location.rstrip('/')}/"


def cache_path(location: str) -> Path:
    """Returns where `fetch` keeps what is at an address."""
    digest = hashlib.sha256(location.encode()).hexdigest()[:16]
    return cache_folder() / f"{digest}-{remote.file_name(location)}"


def publish(source: Path, target: Path | str) -> None:
    """Copies a file or folder to its place so that it appears there whole, replacing what was there.

    In a bucket the objects bear plain names; a folder has one more, `.published.json`, which tells whether it is whole
    (`ganlib.remote.publication` says how), and what others put into the folder stays there.

    Args:
        source: File or folder to copy.
        target: Where it shall stand: a path of this machine, or a `gs://` address.

    Raises:
        ValueError: The address is of another kind, its bucket is not there, or it may not be written to.
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
