"""The objects below an address, read one by one or brought to this machine as a folder."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganlib.files import lock_folder
from ganlib.progress import Progress
from ganlib.remote import gs, publication
from ganlib.remote.file import TRIES, RemoteError, RemoteFile, check_free_space, crc32c
from ganlib.remote.gs import Bucket, Object
from ganlib.remote.names import find_invalid_name

LOCK_TIMEOUT = 600.0  # seconds to wait for another process that brings the same folder


@dataclass(frozen=True)
class RemoteFolder:
    """The objects below an address, as they were when it was asked.

    Attributes:
        location: The address, with a `/` at its end.
        bucket: Where they lie.
        files: The objects, by their names below the address.
        folders: Objects that stand for a folder, by names that end in `/`.
    """

    location: str
    bucket: Bucket
    files: Mapping[str, Object]
    folders: frozenset[str]

    @classmethod
    def find(cls, bucket: Bucket, path: str) -> RemoteFolder | None:
        """Lists what lies below a path of a bucket; None if that is nothing.

        Raises:
            IncompleteFolder: It was published, and not as a whole.
            RemoteError: It could not be listed.
        """
        prefix = gs.folder_prefix(path)
        below = {item.name.removeprefix(prefix): item for item in bucket.below(prefix)}
        if not below:
            return None
        folders = frozenset(name for name in below if name.endswith("/") or not name)
        files = {name: item for name, item in below.items() if name not in folders}
        location = bucket.address(prefix)
        return cls(location, bucket, publication.published_files(bucket, location, files), folders - {""})

    def matches(self, folder: Path) -> bool:
        """Says whether a folder holds these files and no others, by their checksums."""
        here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if here != set(self.files):
            return False
        return all(_is_current(item, folder / name) for name, item in self.files.items())

    def download(self, target: Path) -> None:
        """Brings all files, several at once, to a folder that appears whole, in the place of what was there.

        What an earlier download has brought is not asked for again, nor the beginning of a file that broke off. They
        wait in a hidden folder beside the target. Nothing is flushed to the disk: every fetch verifies what is there.

        Raises:
            ValueError: An object's name cannot be that of a file below a folder.
            OSError: It could not be read, or the disk is too small.
        """
        name = find_invalid_name(self.files, self.files)
        if name is not None:
            raise ValueError(
                f"expected objects whose names can be those of files. Received: path={self.location!r}, object={name!r}"
            )
        home = target.with_name(f".{target.name}.arriving")
        with lock_folder(home, timeout=LOCK_TIMEOUT):
            arrival = _Download(self, home, target)
            arrival.run()
            shutil.rmtree(home / "old", ignore_errors=True)  # of a process that was killed right here
            if target.exists():
                os.replace(target, home / "old")
            os.replace(arrival.whole, target)
            for leftover in (home / "old", arrival.parts):
                shutil.rmtree(leftover, ignore_errors=True)


class _Download:
    """A download under way: `whole` holds the files that have arrived, `parts` those that have begun to."""

    def __init__(self, folder: RemoteFolder, home: Path, target: Path) -> None:
        self.folder, self.target = folder, target
        self.whole, self.parts = home / "whole", home / "parts"

    def run(self) -> None:
        for folder in (self.whole, self.parts):
            folder.mkdir(exist_ok=True)
        for path in sorted(self.whole.rglob("*"), reverse=True):  # of an earlier download: what has changed meanwhile
            name = path.relative_to(self.whole).as_posix()
            if path.is_dir():
                with contextlib.suppress(OSError):  # it holds something
                    path.rmdir()
            elif name not in self.folder.files or not _is_current(self.folder.files[name], path):
                path.unlink()
        missing = [name for name in self.folder.files if not self._is_complete(name)]
        self._check_room(missing)
        self.folder.bucket.run_parallel(
            self._bring, missing, progress=Progress("fetch", total=len(missing), unit="files")
        )

    def _is_complete(self, name: str) -> bool:
        """Says whether a file has arrived, or is here from an earlier fetch."""
        path, kept = self.whole / name, self.target / name
        if path.exists():
            return True
        if not _is_current(self.folder.files[name], kept):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(kept, path)
        except OSError:  # this file system has no links
            shutil.copy2(kept, path)
        return True

    def _part(self, name: str) -> Path:
        item = self.folder.files[name]
        return self.parts / hashlib.sha256(f"{item.generation}/{name}".encode()).hexdigest()

    def _check_room(self, missing: list[str]) -> None:
        parts = [self._part(name) for name in missing]
        needed = sum(self.folder.files[name].size for name in missing)
        needed -= sum(path.stat().st_size for path in parts if path.exists())
        check_free_space(self.target.parent, needed, location=self.folder.location)

    def _bring(self, name: str) -> None:
        item, part, path = self.folder.files[name], self._part(name), self.whole / name
        download_object(self.folder.bucket, item, part, sound=lambda path: item.crc32c in (None, crc32c(path)))
        os.utime(part, ns=(item.modified, item.modified))
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, path)


def download_object(bucket: Bucket, item: Object, path: Path, *, sound: Callable[[Path], bool]) -> None:
    """Brings an object to a file; what the file holds already is taken for its beginning.

    Args:
        bucket: Where the object is.
        item: The object.
        path: The file.
        sound: Says whether the file that has arrived is the object's content.

    Raises:
        RemoteError: It could not be read, or arrived damaged again and again.
        OSError: The disk is full.
    """
    for _ in range(TRIES):
        start = path.stat().st_size if path.exists() else 0
        if start <= item.size:
            with gs.translate_errors(bucket.address(item.name)), path.open("ab") as file:
                bucket.copy(item, file, start=start)
            if sound(path):
                return
        path.unlink()
    raise gs.checksum_error(bucket.address(item.name))


def _is_current(item: Object, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == item.size and crc32c(path) == item.crc32c


@contextlib.contextmanager
def open_location(location: str) -> Iterator[RemoteFile | RemoteFolder]:
    """Asks for an object, or for all below a folder; see `ganlib.remote.open_location`."""
    with gs.open_bucket(location) as (bucket, path):
        item = None if not path or path.endswith("/") else bucket.find(path)
        if item is not None:
            found = item
            yield RemoteFile(location, item.size, item.modified, item.crc32c, lambda sink: bucket.copy(found, sink))
            return
        folder = RemoteFolder.find(bucket, path)
        if folder is None:
            raise ValueError(f"no such object or folder. Received: path={location!r}")
        yield folder


def list_folder(location: str) -> RemoteFolder:
    """Lists what lies below an address, to be read one by one while the result is kept.

    Raises:
        ValueError: Nothing is there, or it is a single object.
        RemoteError: It could not be listed.
    """
    bucket, path = gs.connect(location)
    folder = RemoteFolder.find(bucket, path)
    if folder is None:
        kind = "which is a file" if path and bucket.find(path) else "where nothing is"
        raise ValueError(f"expected a folder of a bucket. Received: path={location!r}, {kind}")
    return folder


def read_content(bucket: str, item: Object, *, limit: int) -> bytes:
    """Returns the bytes of an object as it was listed, verified; any process may ask.

    Args:
        bucket: Name of the bucket.
        item: The object.
        limit: Most bytes that it may have.

    Raises:
        RemoteError: It could not be read, or is not the one that was listed any more.
    """
    try:
        return _opened(bucket, os.environ.get("STORAGE_EMULATOR_HOST")).read(item, limit=limit)
    except ValueError as error:  # it could be read when it was listed
        raise RemoteError(str(error)) from error


def read_start(bucket: str, item: Object, count: int) -> bytes:
    """Returns the first bytes of an object as it was listed; any thread may ask.

    Raises:
        RemoteError: It could not be read, or is not the one that was listed any more.
    """
    try:
        return _opened(bucket, os.environ.get("STORAGE_EMULATOR_HOST")).start(item, count)
    except ValueError as error:  # it could be read when it was listed
        raise RemoteError(str(error)) from error


@functools.cache
def _opened(bucket: str, server: str | None) -> Bucket:
    """The connections of a process to a bucket, which are kept."""
    del server  # where the bucket is
    return gs.connect(f"gs://{bucket}")[0]
