"""Atomic writes to local files and folders, locks, JSON and JSON lines.

Every file that another process may read is written under a temporary name in the same folder, flushed to the disk, and
renamed. So a killed process leaves either the old file or the new one, never half of it.

The locks are those of the operating system. Filelock would save about eight lines: the message of a waiting process,
the error on file systems without locks, and the removal of lock files would remain.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

LOCKS_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
NOTICE_SECONDS = 2.0  # seconds of waiting for another process before a message is printed


@contextlib.contextmanager
def lock_folder(folder: Path, *, timeout: float) -> Iterator[None]:
    """Locks a folder, so that only one process at a time works in it. The lock ends with the process at the latest.

    Args:
        folder: The folder; created if it does not exist.
        timeout: Seconds to wait for another process.

    Raises:
        OSError: Another process still works there, or the file system does not support locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as file:
        _lock(file, folder, timeout=timeout)
        yield


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Locks a file that one process creates while others wait. The lock ends with the process at the latest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with lock.open("wb") as file:
            _lock(file, path.parent, timeout=math.inf)
            if not _is_at(lock, file):
                continue  # the process that had the lock has removed the file
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[bytes], folder: Path, *, timeout: float) -> None:
    began, reported = time.monotonic(), False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            waited = time.monotonic() - began
            if waited > timeout:
                raise OSError(f"another process works in this folder. Received: folder={str(folder)!r}") from error
            if waited > NOTICE_SECONDS and not reported:
                print(f"waiting for another process that works in {folder}", flush=True)
                reported = True
            time.sleep(0.5)
        except OSError as error:
            if error.errno not in LOCKS_UNSUPPORTED:
                raise
            expected = "expected a file system that supports locks (a network file system may be mounted without)"
            raise OSError(f"{expected}. Received: folder={str(folder)!r}") from error
        else:
            return


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to `path` if the block succeeds and removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder that becomes `path` when the block ends well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    outgoing = temporary.with_suffix(".old")
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _flush(file)
        temporary.chmod(0o755)
        if path.is_dir():
            os.replace(path, outgoing)  # a single move: at any moment, the path is a complete folder or does not exist
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        for leftover in (temporary, outgoing):
            shutil.rmtree(leftover, ignore_errors=True)


def remove_partial_files(folder: Path, *, name: str = "") -> None:
    """Removes the partial files of killed processes from a folder in which no other process writes.

    Args:
        folder: The folder.
        name: The final name of the files. Default: any name.
    """
    for leftover in folder.glob(f".{glob.escape(name)}*.partial"):
        if leftover.is_file():
            leftover.unlink()


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically.

    Raises:
        ValueError: A number is not finite, which JSON does not allow.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"expected finite numbers only. Received: path={str(path)!r} ({error})") from error
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: The file does not exist or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        # KFP downloads an artifact whose files are gone as an empty folder.
        empty = path.parent.is_dir() and not any(path.parent.iterdir())
        hint = ", which is empty; if it is of a step that KFP took from its cache, submit with --no-cache"
        raise ValueError(
            f"expected the file {path.name}. Received: folder={str(path.parent)!r}{hint if empty else ''}"
        ) from error
    except ValueError as error:  # not JSON, or not text
        raise ValueError(f"not a JSON file: {error}. Received: path={str(path)!r}") from error


def canonical_json(value: Any) -> str:
    """Returns a canonical JSON text: equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Appends one JSON line and flushes it to the disk. An unfinished last line is replaced."""
    with path.open("ab+") as file:
        _drop_unfinished_line(file)
        file.write(json.dumps(value).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _drop_unfinished_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0 or os.pread(file.fileno(), 1, end - 1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads JSON lines. An unfinished last line, left by a killed process, is ignored."""
    if not path.exists():
        return []
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a file of JSON lines atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
