"""The objects below an address, read one by one or downloaded as a folder."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganlib.files import lock_folder
from ganlib.progress import Progress
from ganlib.remote import publication
from ganlib.remote.bucket import Bucket, Object, checksum_error, folder_prefix
from ganlib.remote.connection import connect, open_bucket, settings
from ganlib.remote.file import TRIES, RemoteError, RemoteFile, Sink, check_free_space
from ganlib.remote.names import find_invalid_name

LOCK_TIMEOUT = 600.0  # seconds to wait for another process that downloads the same folder


@dataclass(frozen=True)
class RemoteFolder:
    """The objects below an address, as they were when they were listed.

    Attributes:
        location: The address, which ends with `/`.
        bucket: Their bucket.
        files: The objects by name, relative to the address.
        folders: Names of objects that represent a folder; they end with `/`.
    """

    location: str
    bucket: Bucket
    files: Mapping[str, Object]
    folders: frozenset[str]

    @property
    def version(self) -> str:
        """A text that changes with the names, sizes and contents of the objects."""
        facts = [(name, item.size, item.identity) for name, item in sorted(self.files.items())]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @classmethod
    def find(cls, bucket: Bucket, path: str) -> RemoteFolder | None:
        """Lists the objects below a path of a bucket; returns None if there are none.

        Raises:
            IncompleteFolder: The folder was not published completely.
            RemoteError: It could not be listed.
        """
        prefix = folder_prefix(path)
        below = {item.name.removeprefix(prefix): item for item in bucket.list_objects(prefix)}
        if not below:
            return None
        folders = frozenset(name for name in below if name.endswith("/") or not name)
        files = {name: item for name, item in below.items() if name not in folders}
        location = bucket.address(prefix)
        return cls(location, bucket, publication.published_files(bucket, location, files), folders - {""})

    def matches(self, folder: Path) -> bool:
        """Returns whether a local folder has exactly these files, by checksums, or where there are none, by times."""
        local = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if local != set(self.files):
            return False
        return all(item.matches(folder / name) for name, item in self.files.items())

    def download(self, target: Path) -> None:
        """Downloads all files, several at a time, and then replaces the target folder.

        Files of an interrupted download are reused, including the beginning of an incomplete file. They are stored in a
        hidden folder beside the target. Nothing is flushed to the disk, because every fetch verifies the files by their
        checksums. (A listing of S3 has none, so a crash of the machine can damage files there that nobody published.)

        Raises:
            ValueError: The name of an object cannot be that of a file below a folder.
            OSError: An object could not be read, or the disk is too small.
        """
        name = find_invalid_name(self.files, self.files)
        if name is not None:
            raise ValueError(
                f"expected object names that are valid as file names. Received: path={self.location!r}, object={name!r}"
            )
        temporary = target.with_name(f".{target.name}.arriving")
        with lock_folder(temporary, timeout=LOCK_TIMEOUT):
            download = _Download(self, temporary, target)
            download.run()
            shutil.rmtree(temporary / "old", ignore_errors=True)  # left by a process that was killed right here
            if target.exists():
                os.replace(target, temporary / "old")
            os.replace(download.complete, target)
            for leftover in (temporary / "old", download.partial):
                shutil.rmtree(leftover, ignore_errors=True)


class _Download:
    """A running download. `complete` is the folder of complete files, `partial` that of incomplete ones."""

    def __init__(self, folder: RemoteFolder, temporary: Path, target: Path) -> None:
        self.folder, self.target = folder, target
        self.complete, self.partial = temporary / "whole", temporary / "parts"

    def run(self) -> None:
        for folder in (self.complete, self.partial):
            folder.mkdir(exist_ok=True)
        for path in sorted(self.complete.rglob("*"), reverse=True):  # removes outdated files of an earlier download
            name = path.relative_to(self.complete).as_posix()
            if path.is_dir():
                with contextlib.suppress(OSError):  # it is not empty
                    path.rmdir()
            elif name not in self.folder.files or not self.folder.files[name].matches(path):
                path.unlink()
        missing = [name for name in self.folder.files if not self._is_complete(name)]
        self._check_room(missing)
        self.folder.bucket.for_each(
            self._download, missing, progress=Progress("fetch", total=len(missing), unit="files")
        )

    def _is_complete(self, name: str) -> bool:
        """Returns whether a file is downloaded; an unchanged file of an earlier fetch is linked or copied."""
        path, cached = self.complete / name, self.target / name
        if path.exists():
            return True
        if not self.folder.files[name].matches(cached):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(cached, path)
        except OSError:  # this file system has no links
            shutil.copy2(cached, path)
        return True

    def _partial_path(self, name: str) -> Path:
        item = self.folder.files[name]
        return self.partial / hashlib.sha256(f"{item.version}/{name}".encode()).hexdigest()

    def _check_room(self, missing: list[str]) -> None:
        partial = [self._partial_path(name) for name in missing]
        needed = sum(self.folder.files[name].size for name in missing)
        needed -= sum(path.stat().st_size for path in partial if path.exists())
        check_free_space(self.target.parent, needed, location=self.folder.location)

    def _download(self, name: str) -> None:
        item, partial, path = self.folder.files[name], self._partial_path(name), self.complete / name
        download_object(self.folder.bucket, item, partial)
        os.utime(partial, ns=(item.local_time, item.local_time))
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, path)


def download_object(
    bucket: Bucket, item: Object, path: Path, *, is_valid: Callable[[Path], bool] | None = None
) -> None:
    """Downloads an object to a file. If the file exists, its content is taken as the beginning of the object.

    A complete file is downloaded again if nothing is known to verify it by, as after a listing of S3.

    Args:
        bucket: Bucket of the object.
        item: The object.
        path: The file.
        is_valid: Returns whether the downloaded file has the object's content. Default: by the object's checksum.

    Raises:
        RemoteError: The object could not be read, or arrived damaged several times.
        OSError: The disk is full.
    """
    longest = item.size if is_valid or item.has_checksum else item.size - 1
    if path.exists() and path.stat().st_size > longest:
        path.unlink()
    for _ in range(TRIES):
        with bucket.translate_errors(bucket.address(item.name)), path.open("ab") as file:
            received = bucket.copy(item, file, start=file.tell())
        if (is_valid or received.is_intact)(path):
            return
        path.unlink()
    raise checksum_error(bucket.address(item.name))


@contextlib.contextmanager
def open_location(location: str) -> Iterator[RemoteFile | RemoteFolder]:
    """Opens an object, or a folder of objects; see `ganlib.remote.open_location`."""
    with open_bucket(location) as (bucket, path):
        item = None if not path or path.endswith("/") else bucket.find(path)
        if item is not None:
            source = item
            is_intact = item.is_intact if item.has_checksum else None

            def copy(sink: Sink) -> None:
                bucket.copy(source, sink)

            yield RemoteFile(location, item.size, item.local_time, is_intact, copy, item.identity)
            return
        folder = RemoteFolder.find(bucket, path)
        if folder is None:
            raise ValueError(f"no such object or folder. Received: path={location!r}")
        yield folder


def list_folder(location: str) -> RemoteFolder:
    """Lists the objects below an address. They can be read one by one as long as the result exists.

    Raises:
        ValueError: Nothing exists there, or it is a single object.
        RemoteError: It could not be listed.
    """
    bucket, path = connect(location)
    folder = RemoteFolder.find(bucket, path)
    if folder is None:
        kind = "which is a file" if path and bucket.find(path) else "which does not exist"
        raise ValueError(f"expected a folder of a bucket. Received: path={location!r}, {kind}")
    return folder


def read_content(root: str, item: Object, *, limit: int) -> bytes:
    """Returns the verified bytes of an object as it was listed. Works in any process.

    Args:
        root: Address of the bucket, such as `gs://bucket`.
        item: The object.
        limit: Maximum size in bytes.

    Raises:
        RemoteError: It could not be read, or has changed since it was listed.
    """
    try:
        return _connection(root, settings()).read(item, limit=limit)
    except ValueError as error:  # not a user's mistake, since it could be read when it was listed
        raise RemoteError(str(error)) from error


def read_start(root: str, item: Object, count: int) -> bytes:
    """Returns the first bytes of an object as it was listed. Works in any thread.

    Raises:
        RemoteError: It could not be read, or has changed since it was listed.
    """
    try:
        return _connection(root, settings()).start(item, count)
    except ValueError as error:  # not a user's mistake, since it could be read when it was listed
        raise RemoteError(str(error)) from error


@functools.cache
def _connection(root: str, of_settings: tuple[str | None, ...]) -> Bucket:
    """Returns this process's connection to a bucket, which is reused."""
    del of_settings  # only part of the cache key
    return connect(root)[0]
