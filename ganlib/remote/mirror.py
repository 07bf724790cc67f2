"""A consistent copy of a folder in a bucket, from which a process on another machine can resume.

Below the location are `objects/<sha256>`, with the content of each file under its hash, and `snapshot.json`, with the
list of files. No object is written twice. The snapshot is written last, on the condition that it is still the one that
this writer wrote or read before. So a killed push leaves the old snapshot with all its objects, and of two concurrent
writers, the first one fails at its next push.

A push removes the objects that are neither in its snapshot nor in the previous one, and that are older than the
previous one by the server's clock. So a reader can finish if one push happens meanwhile; after two, it starts again
with the newer snapshot. A second writer that started after the previous snapshot loses none of its uploads. An object
that is in no snapshot and older than the snapshot that it started from can be removed at any time, so it uploads that
content again as `objects/<sha256>.<random>`. (Under the same name, the first writer could still remove it: in S3, the
same content is the same version.)
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ganlib.files import sha256
from ganlib.remote.bucket import Bucket, Object, WriteConflict, folder_prefix
from ganlib.remote.connection import open_bucket
from ganlib.remote.file import TRIES, RemoteError, check_free_space, checksum, checksums
from ganlib.remote.folder import download_object
from ganlib.remote.names import object_name
from ganlib.remote.snapshot import Snapshot, parse_snapshot, serialize_snapshot

SNAPSHOT = "snapshot.json"
MAX_SNAPSHOT = 64 * 2**20  # bytes
PULL_FOLDER = ".pull"  # folder of downloads that are not in their final place yet; a later pull reuses them


class Mirror:
    """A folder and its copy in a bucket. Hidden files, and files in hidden folders, are not copied.

    Files may be replaced, or grow, at any time. A push uploads the content that a file has when its turn comes, under
    the hash of that content. It fails if bytes change in place after they were hashed and before they are uploaded. A
    file whose inode, size and time have not changed since the last push is not read again.

    Args:
        location: Address of the copy in a bucket.
        folder: The local folder.
    """

    def __init__(self, location: str, folder: Path) -> None:
        self.location, self.folder = location.rstrip("/"), folder
        self._writer = uuid.uuid4().hex
        self._last: Snapshot | None = None
        self._lost = False
        self._writable = False
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def pull(self) -> bool:
        """Makes the folder equal to the last snapshot. Other files are removed, and every file is verified.

        Returns:
            Whether a snapshot exists; if not, the folder stays as it is.

        Raises:
            ValueError: The bucket does not exist, permission is missing, or the snapshot is malformed.
            OSError: The copy could not be read, or the disk is too small. The folder then stays as it is, the next
                pull reuses the files downloaded so far, and a push is refused like that of a second writer.
        """
        with self._open() as (bucket, prefix):
            for _ in range(TRIES):
                snapshot = self._read(bucket, prefix)
                if snapshot is None:
                    next(bucket.list_objects(prefix, most=1), None)  # raises if the bucket does not exist
                elif self._download(bucket, prefix, snapshot):
                    self._move_into_place(snapshot)
                else:
                    continue
                self._last, self._lost = snapshot, False
                return snapshot is not None
        raise RemoteError(f"the copy changes faster than it can be read. Received: path={self.location!r}")

    def push(self) -> None:
        """Uploads what changed, and then the snapshot.

        Raises:
            WriteConflict: Another process has written a snapshot since this one read or wrote the last one. Then
                nothing is uploaded, now or by any later push.
            ValueError: The bucket or the folder does not exist, permission is missing, or a file's name is not valid
                for an object.
            OSError: The copy could not be written. The snapshot is still the old one, and another push may succeed.
        """
        if not self.folder.is_dir():
            raise ValueError(f"no such folder. Received: path={str(self.folder)!r}")
        with self._open() as (bucket, prefix):
            self._check_conflict(bucket, prefix)
            if not self._writable:
                bucket.check_writes(prefix + SNAPSHOT)  # now, and not at the first large file
                self._writable = True
            paths = {object_name(name): path for name, path in self._visible()}
            before = self._last
            known = {digest: before.object_name(digest) for digest in before.digests} if before else {}
            files: dict[str, tuple[str, int]] = {}

            def store(name: str) -> None:
                with paths[name].open("rb") as file:  # if the file is replaced meanwhile, this is still the old content
                    files[name] = self._store(bucket, f"{prefix}objects/", paths[name], file, known)

            bucket.for_each(store, paths)
            if before and before.files == files:
                return
            self._last = self._write(bucket, prefix, files, known)
            if before:
                self._remove_old_objects(bucket, prefix, before)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[Bucket, str]]:
        with open_bucket(self.location) as (bucket, name):
            yield bucket, folder_prefix(name)

    def _visible(self) -> Iterator[tuple[str, Path]]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not self._is_hidden(path):
                yield path.relative_to(self.folder).as_posix(), path

    def _is_hidden(self, path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(self.folder).parts)

    def _digest(self, path: Path) -> str:
        with path.open("rb") as file:
            state = _file_state(file)
            if self._known.get(path, ((), ""))[0] != state:
                self._known[path] = (state, checksums(file, size=state[1])[1])
            return self._known[path][1]

    # Writing.

    def _check_conflict(self, bucket: Bucket, prefix: str) -> None:
        existing = None if self._lost else bucket.find(prefix + SNAPSHOT)
        expected = self._last.version if self._last else None
        if not self._lost and (existing.version if existing else None) != expected:
            snapshot = self._read(bucket, prefix)
            self._lost = snapshot is None or snapshot.writer != self._writer
            self._last = self._last if self._lost else snapshot  # from a push of this process whose answer was lost
        if self._lost:
            raise WriteConflict(f"another process has written there meanwhile. Received: path={self.location!r}")

    def _store(self, bucket: Bucket, prefix: str, path: Path, file: BinaryIO, known: dict[str, str]) -> tuple[str, int]:
        """Ensures that an object has the current content of an open file; returns its SHA-256 and size.

        `known` are the names of objects by SHA-256; a new one is added.
        """
        state = _file_state(file)
        last_state, digest = self._known.get(path, ((), ""))
        if last_state == state and digest in known:
            return digest, state[1]
        size, digest, crc32c = checksums(file, size=state[1])
        self._known[path] = (state, digest)
        if digest not in known:
            known[digest] = digest  # another file may have the same content
            known[digest] = self._upload(bucket, prefix, digest, file, size=size, crc32c=crc32c)
        return digest, size

    def _upload(self, bucket: Bucket, prefix: str, digest: str, file: BinaryIO, *, size: int, crc32c: str) -> str:
        """Uploads a content unless a push that was killed has done so; returns the name of the object."""
        existing, name = bucket.find(prefix + digest), digest
        if existing:
            safe = not self._last or existing.modified >= self._last.modified
            if safe and (existing.size, existing.crc32c) == (size, crc32c):
                return digest
            name = f"{digest}.{uuid.uuid4().hex}"
        bucket.upload(file, prefix + name, replaces=None, crc32c=crc32c, size=size)
        return name

    def _write(self, bucket: Bucket, prefix: str, files: dict[str, tuple[str, int]], known: dict[str, str]) -> Snapshot:
        name, before = prefix + SNAPSHOT, None
        if self._last:
            before = Object(name, 0, version=self._last.version)
        objects = {digest: known[digest] for digest, _ in files.values() if known[digest] != digest}
        after = str(self._last.version) if self._last else ""
        data = serialize_snapshot(files, objects, writer=self._writer, after=after)
        try:
            item = bucket.upload(data, name, replaces=before, crc32c=checksum(io.BytesIO(data)))
        except WriteConflict:
            self._lost = True
            raise
        written = item if item.modified else bucket.find(name) or item
        return Snapshot(files, objects, self._writer, item.version, written.modified)

    def _remove_old_objects(self, bucket: Bucket, prefix: str, before: Snapshot) -> None:
        used = {f"{prefix}objects/{name}" for name in before.object_names | (self._last or before).object_names}

        def remove(item: Object) -> None:
            with contextlib.suppress(WriteConflict):  # a second writer has uploaded it again
                bucket.delete(item)

        try:
            objects = bucket.list_objects(f"{prefix}objects/")
            bucket.for_each(remove, [o for o in objects if o.name not in used and o.modified < before.modified])
        except (OSError, ValueError) as error:  # the snapshot is complete, and the next push tries again
            print(f"mirror: old objects were not removed: {error}", flush=True)

    # Reading.

    def _read(self, bucket: Bucket, prefix: str) -> Snapshot | None:
        item = bucket.find(prefix + SNAPSHOT)
        if item is None:
            return None
        try:
            data = bucket.read(item, limit=MAX_SNAPSHOT)
        except RemoteError:
            if bucket.find(item.name) == item:
                raise
            return self._read(bucket, prefix)  # a new one was written meanwhile
        try:
            return parse_snapshot(data, version=item.version, modified=item.modified)
        except ValueError as error:
            raise ValueError(
                f"expected a snapshot that this program wrote: {error}. Received: path={bucket.address(item.name)!r}"
            ) from error

    def _download(self, bucket: Bucket, prefix: str, snapshot: Snapshot) -> bool:
        """Downloads the missing files; returns False if a later push has removed some of their objects."""
        downloads = self.folder / PULL_FOLDER
        downloads.mkdir(parents=True, exist_ok=True)
        missing = {d: size for name, (d, size) in snapshot.files.items() if not self._is_current(name, d)}
        downloaded = sum(path.stat().st_size for path in downloads.iterdir())
        check_free_space(self.folder, sum(missing.values()) - downloaded, location=self.location)

        def download(digest: str) -> None:
            item = Object(f"{prefix}objects/{snapshot.object_name(digest)}", missing[digest])
            download_object(bucket, item, downloads / digest, is_valid=lambda path: sha256(path) == digest)

        try:
            bucket.for_each(download, missing)
        except ValueError:
            now = bucket.find(prefix + SNAPSHOT)
            if now is None or now.version == snapshot.version:
                raise
            return False
        return True

    def _is_current(self, name: str, digest: str) -> bool:
        path = self.folder / name
        return path.is_file() and not path.is_symlink() and self._digest(path) == digest

    def _move_into_place(self, snapshot: Snapshot) -> None:
        """Removes files that are not in the snapshot, and moves the downloads to their final places."""
        targets: dict[str, list[str]] = defaultdict(list)
        for name, (digest, _) in snapshot.files.items():
            if not self._is_current(name, digest):
                targets[digest].append(name)
        for name, path in list(self._visible()):
            if name not in snapshot.files or name in targets[snapshot.files[name][0]]:
                path.unlink()
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and not (path.is_symlink() or self._is_hidden(path) or any(path.iterdir())):
                path.rmdir()
        for digest, (first, *others) in ((d, names) for d, names in targets.items() if names):
            for name in (first, *others):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            for name in others:
                shutil.copyfile(self.folder / PULL_FOLDER / digest, self.folder / name)
            os.replace(self.folder / PULL_FOLDER / digest, self.folder / first)
        shutil.rmtree(self.folder / PULL_FOLDER)


def _file_state(file: BinaryIO) -> tuple[int, int, int]:
    """Returns the inode, the size and the time of an open file."""
    stat = os.fstat(file.fileno())
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
