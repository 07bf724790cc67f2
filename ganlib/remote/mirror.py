"""A folder that is kept in a bucket as a whole, so that a process on another machine can go on with it.

Below the location lie `objects/<sha256>`, each file's content under its hash, and `snapshot.json`, which says which
files there are. An object never changes, and the snapshot is written last, on the condition that it is still the one
that this writer left or found there. So a killed push leaves the old snapshot with all its objects, and of two writers
the first one learns of the second.

Which objects may go? A push removes those that neither its own snapshot nor the one before names, and that are older
than the one before, by the server's clock. A reader that is overtaken by one push keeps its objects; one overtaken by
two begins anew with the later snapshot. A second writer that began after the one before loses nothing it has uploaded;
and it uploads again what lies there unnamed and older than the snapshot it began from.
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
from ganlib.remote import gs
from ganlib.remote.file import TRIES, RemoteError, check_free_space, checksum, checksums
from ganlib.remote.folder import download_object
from ganlib.remote.gs import Bucket, Object, WriteConflict
from ganlib.remote.names import object_name
from ganlib.remote.snapshot import Snapshot, parse, serialize

SNAPSHOT = "snapshot.json"
MAX_SNAPSHOT = 64 * 2**20  # bytes
PULL_FOLDER = ".pull"  # folder of what is not in its place yet; a later pull goes on with it


class Mirror:
    """A folder and its copy in a bucket. Hidden files, and those in hidden folders, have no part in it.

    Files may be replaced, or grow, at any time: a push takes of each what it holds when its turn comes, and names it by
    the hash of what is sent. It fails where bytes that have been hashed are changed in place before they are sent. A
    file whose inode, size and time are those of the last push is not read again.

    Args:
        location: `gs://` address below which the copy lies.
        folder: The folder of this machine.
    """

    def __init__(self, location: str, folder: Path) -> None:
        self.location, self.folder = location.rstrip("/"), folder
        self._writer = uuid.uuid4().hex
        self._last: Snapshot | None = None
        self._lost = False
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def pull(self) -> bool:
        """Makes the folder equal to the last snapshot; other files are removed, and every file is verified.

        Returns:
            Whether there is a snapshot; if not, the folder is left alone.

        Raises:
            ValueError: No such bucket, no permission, or what is there is no snapshot.
            OSError: It could not be read, or the disk is too small. The folder is then as it was, what has arrived
                waits in it for the next pull, and a push is refused as that of a second writer.
        """
        with self._open() as (bucket, prefix):
            for _ in range(TRIES):
                snapshot = self._read(bucket, prefix)
                if snapshot is None:
                    next(bucket.below(prefix, most=1), None)  # raises where there is no bucket
                elif self._download(bucket, prefix, snapshot):
                    self._move_into_place(snapshot)
                else:
                    continue
                self._last, self._lost = snapshot, False
                return snapshot is not None
        raise RemoteError(f"the copy is changed faster than it can be read. Received: path={self.location!r}")

    def push(self) -> None:
        """Uploads what changed, and then the snapshot.

        Raises:
            WriteConflict: Another process has written a snapshot since this one read or wrote the last. Then, and at every
                later push, nothing is uploaded.
            ValueError: No such bucket, no permission, no such folder, or a file's name cannot be an object's.
            OSError: It could not be written; the snapshot is the old one, and another push may succeed.
        """
        if not self.folder.is_dir():
            raise ValueError(f"no such folder. Received: path={str(self.folder)!r}")
        with self._open() as (bucket, prefix):
            self._check_alone(bucket, prefix)
            paths = {object_name(name): path for name, path in self._visible()}
            before = self._last
            known = before.digests if before else set()
            files: dict[str, tuple[str, int]] = {}

            def take(name: str) -> None:
                with paths[name].open("rb") as file:  # of a file that is replaced meanwhile, still the old content
                    files[name] = self._take(bucket, f"{prefix}objects/", paths[name], file, known)

            bucket.run_parallel(take, paths)
            if before and before.files == files:
                return
            self._last = self._write(bucket, prefix, files)
            if before:
                self._remove_old_objects(bucket, prefix, before)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[Bucket, str]]:
        with gs.open_bucket(self.location) as (bucket, name):
            yield bucket, gs.folder_prefix(name)

    def _visible(self) -> Iterator[tuple[str, Path]]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not self._is_hidden(path):
                yield path.relative_to(self.folder).as_posix(), path

    def _is_hidden(self, path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(self.folder).parts)

    def _digest(self, path: Path) -> str:
        with path.open("rb") as file:
            state = _state(file)
            if self._known.get(path, ((), ""))[0] != state:
                self._known[path] = (state, checksums(file, size=state[1])[1])
            return self._known[path][1]

    # Writing.

    def _check_alone(self, bucket: Bucket, prefix: str) -> None:
        there = None if self._lost else bucket.find(prefix + SNAPSHOT)
        expected = self._last.generation if self._last else None
        if not self._lost and (there.generation if there else None) != expected:
            snapshot = self._read(bucket, prefix)
            self._lost = snapshot is None or snapshot.writer != self._writer
            self._last = self._last if self._lost else snapshot  # a push of this process whose answer was lost
        if self._lost:
            raise WriteConflict(f"another process has written there meanwhile. Received: path={self.location!r}")

    def _take(self, bucket: Bucket, prefix: str, path: Path, file: BinaryIO, known: set[str]) -> tuple[str, int]:
        """Sees to it that an object has what an open file holds now; returns the SHA-256 and the bytes of that."""
        state = _state(file)
        noted, digest = self._known.get(path, ((), ""))
        if noted == state and digest in known:
            return digest, state[1]
        size, digest, crc32c = checksums(file, size=state[1])
        self._known[path] = (state, digest)
        if digest not in known:
            known.add(digest)  # another file may hold the same
            self._upload(bucket, prefix + digest, file, size=size, crc32c=crc32c)
        return digest, size

    def _upload(self, bucket: Bucket, name: str, file: BinaryIO, *, size: int, crc32c: str) -> None:
        for _ in range(TRIES):
            there = bucket.find(name)
            safe = there and (not self._last or there.modified >= self._last.modified)
            if there and safe and (there.size, there.crc32c) == (size, crc32c):
                return  # of a push that was killed
            with contextlib.suppress(WriteConflict):  # or removed
                bucket.upload(file, name, replaces=there, crc32c=crc32c, size=size)
                return
        raise RemoteError(f"others change this object all the time. Received: path={bucket.address(name)!r}")

    def _write(self, bucket: Bucket, prefix: str, files: dict[str, tuple[str, int]]) -> Snapshot:
        name, before = prefix + SNAPSHOT, None
        if self._last:
            before = Object(name, 0, generation=self._last.generation)
        data = serialize(files, writer=self._writer, after=self._last.generation if self._last else 0)
        try:
            item = bucket.upload(data, name, replaces=before, crc32c=checksum(io.BytesIO(data)))
        except WriteConflict:
            self._lost = True
            raise
        return Snapshot(files, self._writer, item.generation or 0, item.modified)

    def _remove_old_objects(self, bucket: Bucket, prefix: str, before: Snapshot) -> None:
        kept = {f"{prefix}objects/{digest}" for digest in before.digests | (self._last or before).digests}

        def remove(item: Object) -> None:
            with contextlib.suppress(WriteConflict):  # a second writer has uploaded it again
                bucket.delete(item)

        try:
            objects = bucket.below(f"{prefix}objects/")
            bucket.run_parallel(remove, [o for o in objects if o.name not in kept and o.modified < before.modified])
        except (OSError, ValueError) as error:  # the snapshot is written; the next push tries again
            print(f"mirror: old objects stay: {error}", flush=True)

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
            return self._read(bucket, prefix)  # another one was written at this moment
        try:
            return parse(data, generation=item.generation or 0, modified=item.modified)
        except ValueError as error:
            raise ValueError(
                f"expected a snapshot that this program wrote: {error}. Received: path={bucket.address(item.name)!r}"
            ) from error

    def _download(self, bucket: Bucket, prefix: str, snapshot: Snapshot) -> bool:
        """Downloads what the folder lacks; returns False if a later push has removed some of it."""
        arriving = self.folder / PULL_FOLDER
        arriving.mkdir(parents=True, exist_ok=True)
        missing = {d: size for name, (d, size) in snapshot.files.items() if not self._is_current(name, d)}
        waiting = sum(path.stat().st_size for path in arriving.iterdir())
        check_free_space(self.folder, sum(missing.values()) - waiting, location=self.location)

        def arrive(digest: str) -> None:
            item = Object(f"{prefix}objects/{digest}", missing[digest])
            download_object(bucket, item, arriving / digest, sound=lambda path: sha256(path) == digest)

        try:
            bucket.run_parallel(arrive, missing)
        except ValueError:
            now = bucket.find(prefix + SNAPSHOT)
            if now is None or now.generation == snapshot.generation:
                raise
            return False
        return True

    def _is_current(self, name: str, digest: str) -> bool:
        path = self.folder / name
        return path.is_file() and not path.is_symlink() and self._digest(path) == digest

    def _move_into_place(self, snapshot: Snapshot) -> None:
        """Removes what is not in the snapshot, and moves what has arrived to its place."""
        waiting: dict[str, list[str]] = defaultdict(list)
        for name, (digest, _) in snapshot.files.items():
            if not self._is_current(name, digest):
                waiting[digest].append(name)
        for name, path in list(self._visible()):
            if name not in snapshot.files or name in waiting[snapshot.files[name][0]]:
                path.unlink()
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and not (path.is_symlink() or self._is_hidden(path) or any(path.iterdir())):
                path.rmdir()
        for digest, (first, *others) in ((d, names) for d, names in waiting.items() if names):
            for name in (first, *others):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            for name in others:
                shutil.copyfile(self.folder / PULL_FOLDER / digest, self.folder / name)
            os.replace(self.folder / PULL_FOLDER / digest, self.folder / first)
        shutil.rmtree(self.folder / PULL_FOLDER)


def _state(file: BinaryIO) -> tuple[int, int, int]:
    """Returns the inode, the bytes and the time of an open file."""
    stat = os.fstat(file.fileno())
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
