"""Reads images chunk by chunk, in this process or in a pool of worker processes, whichever is faster."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ganlib.data.image_chunks import Chunk, ChunkResult, ConformOptions, prepare_chunk
from ganlib.data.worker_pool import WorkerPool

MIN_WORK_SECONDS = 1.0  # remaining work for which it is worth starting processes, which takes a fifth of a second
WAIT_RATIO = 3.0  # wall time over CPU time above which reading waits for a slow disk, so that more processes help
MIN_WAIT_SECONDS = 0.1  # shorter waits do not count
PROCESSES_WHEN_WAITING = 4  # per core, if reading waits for a slow disk
SCHEDULER_STATS = Path("/proc/thread-self/schedstat")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Reader:
    """Reads images in this process, or in worker processes if there are many. Use it in a `with` statement.

    Args:
        options: How the images are converted.
        files: Descriptors of the open files that the locations refer to.
    """

    def __init__(self, options: ConformOptions, files: Sequence[int]) -> None:
        self._options, self._files = options, files
        self._pool: WorkerPool | None = None
        self._pace: _Pace | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.end()

    def prepare_chunks(self, chunks: Iterable[Chunk], *, total: int) -> Iterator[ChunkResult]:
        """Yields the result of each chunk. Together the chunks have `total` images.

        Raises:
            RemoteError: A bucket cannot be read.
            ReadError: This machine failed to read an image.
            RuntimeError: A process could not be started, or ended before its work was done.
        """
        left, chunks = total, iter(chunks)
        for chunk in chunks:
            self._pool = self._pool or self._start_pool(left)
            if self._pool is not None:
                yield from self._pool.prepare_chunks(itertools.chain([chunk], chunks))
                return
            yield self._prepare_here(chunk)
            left -= len(chunk)

    def _prepare_here(self, chunk: Chunk) -> ChunkResult:
        wall, busy = time.perf_counter(), _busy_seconds()
        result = prepare_chunk(self._options, chunk)
        wall, busy = time.perf_counter() - wall, _busy_seconds() - busy
        waits = wall > WAIT_RATIO * busy and wall - busy > MIN_WAIT_SECONDS
        # The first chunk imports libraries, so its time is not representative.
        self._pace = _Pace(wall / len(chunk), PROCESSES_WHEN_WAITING if waits else 1) if self._pace else _Pace(0.0, 1)
        return result

    def _start_pool(self, left: int) -> WorkerPool | None:
        """Starts worker processes if they shorten the remaining work."""
        if self._pace is None or not sys.executable or self._pace.seconds * left <= MIN_WORK_SECONDS:
            return None
        count = cores() * self._pace.processes
        try:
            return WorkerPool(count, self._options, self._files) if count > 1 else None
        except OSError as error:
            raise RuntimeError(f"cannot start {count} processes that read images: {error.strerror}") from error


class _Pace(NamedTuple):
    """The time per image in seconds, and the number of processes per core that suits it."""

    seconds: float
    processes: int


def _busy_seconds() -> float:
    """Returns the seconds that this thread has computed or has waited for a free core."""
    try:
        computed, queued, _ = SCHEDULER_STATS.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # not Linux
        return time.thread_time()
    return (int(computed) + int(queued)) / 1e9


def cores() -> int:
    """Returns the number of cores that this process may use, given its affinity and the quota of its container."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
        quota, period = CPU_QUOTA.read_text(encoding="utf-8").split()
        count = min(count, max(1, int(quota) // int(period)))
    return count
