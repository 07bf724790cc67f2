"""Transfers that can be stopped, and parallel work that stops as soon as one item fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import BinaryIO, TypeVar

from ganlib.progress import Progress
from ganlib.remote.file import Sink

T = TypeVar("T")


class DownloadSink:
    """Passes the bytes of an object on and counts them. Refuses more bytes than the object has.

    Attributes:
        done: Number of bytes so far.
    """

    def __init__(self, sink: Sink, *, start: int, size: int, stop: threading.Event) -> None:
        self.done = start
        self._sink, self._size, self._stop = sink, size, stop

    def write(self, data: bytes, /) -> int:
        """Writes some bytes and returns their number."""
        if self._stop.is_set():
            raise OSError("stopped")
        if self.done + len(data) > self._size:
            raise OSError(f"received more than {self._size} bytes")
        self._sink.write(data)
        self.done += len(data)
        return len(data)


class UploadSource:
    """A file that can be read until the transfer is stopped."""

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
    """Calls a function for every item in several threads.

    The first exception stops the other calls, and is raised.

    Args:
        work: The function; it should end soon after `stop` is set.
        items: The items; each is taken from the iterable when a thread is free.
        threads: Number of threads.
        stop: Set when a call has failed or this call is interrupted.
        progress: Updated with the number of finished items.
    """
    remaining, lock, done = iter(items), threading.Lock(), 0
    failures: list[BaseException] = []

    def run() -> None:
        nonlocal done
        while not stop.is_set():
            with lock:
                item = next(remaining, remaining)
            if item is remaining:
                return
            try:
                work(item)  # type: ignore[arg-type]  # the default of `next` was excluded above
            except BaseException as error:  # noqa: BLE001  # raised below, in the thread that waits
                failures.append(error)
                stop.set()
                return
            with lock:
                done += 1
                if progress:
                    progress.update(done)

    with ThreadPoolExecutor(threads) as pool:
        workers = [pool.submit(run) for _ in range(threads)]
        try:
            wait(workers)
        except BaseException:
            stop.set()
            raise
    if failures:
        raise failures[0]
    for worker in workers:
        worker.result()  # raises if iterating over the items failed
