"""Images read one chunk after the other, by this process or by others: by whoever is done first."""

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

MIN_WORK_SECONDS = 1.0  # seconds of work from which on it pays to start processes, which takes a fifth of one
WAIT_RATIO = 3.0  # times its work: who takes so long to read waits for a slow disk, so that more can wait at once
MIN_WAIT_SECONDS = 0.1  # seconds of waiting; less is no matter
PROCESSES_WHEN_WAITING = 4  # processes a core then
SCHEDULER_STATS = Path("/proc/thread-self/schedstat")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Reader:
    """Reads images here, or in processes if they are many; use it in a `with` statement.

    Args:
        shape: What they are brought to.
        files: Descriptors of the open files that the places refer to.
    """

    def __init__(self, shape: ConformOptions, files: Sequence[int]) -> None:
        self._shape, self._files = shape, files
        self._pool: WorkerPool | None = None
        self._pace: _Pace | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.end()

    def prepare_chunks(self, chunks: Iterable[Chunk], *, total: int) -> Iterator[ChunkResult]:
        """Yields what became of each chunk; the chunks hold `total` images together.

        Raises:
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
        result = prepare_chunk(self._shape, chunk)
        wall, busy = time.perf_counter() - wall, _busy_seconds() - busy
        waits = wall > WAIT_RATIO * busy and wall - busy > MIN_WAIT_SECONDS
        # The first chunk imports libraries, and says nothing of the others.
        self._pace = _Pace(wall / len(chunk), PROCESSES_WHEN_WAITING if waits else 1) if self._pace else _Pace(0.0, 1)
        return result

    def _start_pool(self, left: int) -> WorkerPool | None:
        """Starts processes if they shorten what is left."""
        if self._pace is None or not sys.executable or self._pace.seconds * left <= MIN_WORK_SECONDS:
            return None
        count = cores() * self._pace.processes
        try:
            return WorkerPool(count, self._shape, self._files) if count > 1 else None
        except OSError as error:
            raise RuntimeError(f"cannot start {count} processes that read images: {error.strerror}") from error


class _Pace(NamedTuple):
    """How long an image takes, in seconds, and how many processes a core that suggests."""

    seconds: float
    processes: int


def _busy_seconds() -> float:
    """Returns the seconds in which this thread computed, or could have if other programs had left it a core."""
    try:
        computed, queued, _ = SCHEDULER_STATS.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # another system
        return time.thread_time()
    return (int(computed) + int(queued)) / 1e9


def cores() -> int:
    """Returns how many cores this process may use, by its affinity and by the quota of its container."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
        quota, period = CPU_QUOTA.read_text(encoding="utf-8").split()
        count = min(count, max(1, int(quota) // int(period)))
    return count
