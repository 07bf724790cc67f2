"""The door through which data comes and goes: fetch and publish, whole files, mirrors in a bucket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from ganlib import remote
from ganlib.files import (
    append_line,
    as_text,
    read_json,
    read_lines,
    sha256,
    sole_user,
    sweep,
    whole_file,
    whole_folder,
    write_json,
    write_lines,
)
from ganlib.remote import Mirror, TakenOver

__all__ = [
    "Mirror",
    "TakenOver",
    "append_line",
    "as_text",
    "cache_folder",
    "fetch",
    "is_remote",
    "publish",
    "read_json",
    "read_lines",
    "sha256",
    "sole_user",
    "sweep",
    "whole_file",
    "whole_folder",
    "write_json",
    "write_lines",
]


def is_remote(location: str) -> bool:
    """Says whether a location is an address, and no path of this machine."""
    return "://" in location


def fetch(location: str) -> Path:
    """Returns a local path for a location; what is remote is downloaded once and kept in `cache_folder`.

    A kept file is downloaded anew if the other side has another one: by the object's checksum for `gs://`, by
    size and Last-Modified for `https://` as far as the server tells them. Where the other side cannot be
    reached, the kept file is taken.

    Args:
        location: A path of this machine, `~` being expanded, or the `https://` or `gs://` address of a single file.

    Raises:
        ValueError: Nothing is there, it may not be read, or the address is of another kind.
        OSError: It could not be downloaded.
    """
    if is_remote(location):
        return _fetched(location)
    path = Path(location).expanduser()
    if not path.exists():
        raise ValueError(f"no such file or folder. Received: path={str(path)!r}")
    return path


def cache_folder() -> Path:
    """Returns the folder of downloads: GAN_PIPELINES_CACHE, or `gan-pipelines` in the user's cache."""
    own = os.environ.get("GAN_PIPELINES_CACHE")
    users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(own) if own else Path(users) / "gan-pipelines").expanduser()


def _fetched(location: str) -> Path:
    digest = hashlib.sha256(location.encode()).hexdigest()[:16]
    kept = cache_folder() / f"{digest}-{remote.file_name(location)}"
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(remote.opened(location))
        except OSError as error:
            if not kept.exists():
                raise
            print(f"fetch: {error}; the file downloaded before is taken: {kept}", flush=True)
            return kept
        if kept.exists() and file.matches(kept):
            print(f"fetch: {location} is here already: {kept}", flush=True)
            return kept
        print(f"fetch: {location}", flush=True)
        with whole_file(kept) as temporary:
            file.download(temporary)
    return kept


def publish(source: Path, target: Path) -> None:
    """Copies a file or folder to its place so that it appears there whole, replacing what was there.

    Args:
        source: File or folder to copy.
        target: Where it shall stand.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        with whole_file(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    with whole_folder(target) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
