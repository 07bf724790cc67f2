"""Files of this machine that are whole or absent.

Every file that another process may read is written under a temporary name in the same folder,
flushed to the disk, and renamed: a killed process leaves the old file or the new one, never half.
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
NOTICE_SECONDS = 2.0  # seconds of waiting for another process that people wonder at


@contextlib.contextmanager
def lock_folder(folder: Path, *, timeout: float) -> Iterator[None]:
    """Holds a folder for one process at a time; the lock goes with the process, however it ends.

    Args:
        folder: Created if need be.
        timeout: Seconds to wait for another process to end.

    Raises:
        OSError: Another process still works there, or the file system keeps no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as file:
        _lock(file, folder, timeout=timeout)
        yield


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Has one process at a time make a file, and the others wait; the lock goes with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with lock.open("wb") as file:
            _lock(file, path.parent, timeout=math.inf)
            if not _is_at(lock, file):
                continue  # the process that held it has removed it
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
    began, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            waited = time.monotonic() - began
            if waited > timeout:
                raise OSError(f"another process works in this folder. Received: folder={str(folder)!r}") from error
            if waited > NOTICE_SECONDS and not told:
                print(f"waiting for another process that works in {folder}", flush=True)
                told = True
            time.sleep(0.5)
        except OSError as error:
            if error.errno not in LOCKS_UNSUPPORTED:
                raise
            why = "expected a file system that keeps locks (a network's may be mounted without)"
            raise OSError(f"{why}. Received: folder={str(folder)!r}") from error
        else:
            return


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path that becomes `path` when the block ends well, and vanishes otherwise."""
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
            os.replace(path, outgoing)  # in one move: whoever looks meanwhile finds a whole folder or none
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        for leftover in (temporary, outgoing):
            shutil.rmtree(leftover, ignore_errors=True)


def remove_partial_files(folder: Path, *, name: str = "") -> None:
    """Removes the files that killed processes left half-written in a folder where nobody else writes.

    Args:
        folder: The folder.
        name: What the files were to be called; absent means all names.
    """
    for leftover in folder.glob(f".{glob.escape(name)}*.partial"):
        if leftover.is_file():
            leftover.unlink()


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that is whole or absent.

    Raises:
        ValueError: A number is not finite, which JSON cannot tell and strict readers refuse.
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
        ValueError: The file is absent or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"expected the file {path.name}. Received: folder={str(path.parent)!r}") from error
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"not a JSON file: {error}. Received: path={str(path)!r}") from error


def canonical_json(value: Any) -> str:
    """Returns the one JSON text of a value: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Appends one JSON line, in the place of a last line left unfinished, and flushes it to the disk."""
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
    """Reads JSON lines; a last line that a killed process left unfinished is dropped."""
    if not path.exists():
        return []
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replaces a file of JSON lines as a whole."""
    with atomic_file(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes as lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
