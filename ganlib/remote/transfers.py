"""Bytes on their way, and work that is done several times at once; all of it stops soon where one part fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import BinaryIO, TypeVar

from ganlib.progress import Progress
from ganlib.remote.file import Sink

T = TypeVar("T")


class DownloadSink:
    """Passes the bytes of an object on, counts them, and takes no more than there are.

    Attributes:
        done: Bytes that have arrived.
    """

    def __init__(self, sink: Sink, *, start: int, size: int, stop: threading.Event) -> None:
        self.done = start
        self._sink, self._size, self._stop = sink, size, stop

    def write(self, data: bytes, /) -> int:
        """Takes some bytes and returns how many."""
        if self._stop.is_set():
            raise OSError("stopped")
        if self.done + len(data) > self._size:
            raise OSError(f"more than {self._size} bytes arrived")
        self._sink.write(data)
        self.done += len(data)
        return len(data)


class UploadSource:
    """A file that can be read until the work is stopped."""

    def __init__(self, file: BinaryIO, *, stop: threading.Event) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._file, self._stop = file, stop

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes."""
        if self._stop.is_set():
            raise OSError("stopped")
        return self._file.read(size)


def run_parallel(
    work: Callable[[T], object],
    items: Iterable[T],
    *,
    threads: int,
    stop: threading.Event,
    progress: Progress | None = None,
) -> None:
    """Does the work for every item, several at once.

    Args:
        work: What is done; it ends soon once `stop` is set.
        items: What it is done for; each is taken when its turn has come.
        threads: How many at once.
        stop: Is set when the work for one item has failed, which is then raised, or is interrupted.
        progress: Is told how many are done.
    """
    turns, lock, done = iter(items), threading.Lock(), 0
    failures: list[BaseException] = []

    def take_turns() -> None:
        nonlocal done
        while not stop.is_set():
            with lock:
                item = next(turns, turns)
            if item is turns:
                return
            try:
                work(item)  # type: ignore[arg-type]  # it is no item only where there are no more
            except BaseException as error:  # noqa: BLE001  # raised below, in the thread that waits
                failures.append(error)
                stop.set()
                return
            with lock:
                done += 1
                if progress:
                    progress.update(done)

    with ThreadPoolExecutor(threads) as pool:
        workers = [pool.submit(take_turns) for _ in range(threads)]
        try:
            wait(workers)
        except BaseException:
            stop.set()
            raise
    if failures:
        raise failures[0]
    for worker in workers:
        worker.result()  # taking an item may have failed too
