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

from ganlib.data.crew import Crew
from ganlib.data.treatment import Chunk, Shape, Treated, treat

PAYS = 1.0  # seconds of work from which on it pays to start processes, which takes a fifth of one
WAITING = 3.0  # times its work: who takes so long to read waits for a slow disk, so that more can wait at once
NOTICED = 0.1  # seconds of waiting; less is no matter
WAITERS = 4  # processes a core then
SCHEDULED = Path("/proc/thread-self/schedstat")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Reader:
    """Reads images here, or in processes if they are many; use it in a `with` statement.

    Args:
        shape: What they are brought to.
        files: Descriptors of the open files that the places refer to.
    """

    def __init__(self, shape: Shape, files: Sequence[int]) -> None:
        self._shape, self._files = shape, files
        self._crew: Crew | None = None
        self._pace: _Pace | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._crew is not None:
            self._crew.end()

    def treat(self, chunks: Iterable[Chunk], *, total: int) -> Iterator[Treated]:
        """Yields what became of each chunk; the chunks hold `total` images together.

        Raises:
            RuntimeError: A process could not be started, or ended before its work was done.
        """
        left, chunks = total, iter(chunks)
        for chunk in chunks:
            self._crew = self._crew or self._started(left)
            if self._crew is not None:
                yield from self._crew.treat(itertools.chain([chunk], chunks))
                return
            yield self._here(chunk)
            left -= len(chunk)

    def _here(self, chunk: Chunk) -> Treated:
        wall, busy = time.perf_counter(), _busy()
        treated = treat(self._shape, chunk)
        wall, busy = time.perf_counter() - wall, _busy() - busy
        waits = wall > WAITING * busy and wall - busy > NOTICED
        # The first chunk imports libraries, and says nothing of the others.
        self._pace = _Pace(wall / len(chunk), WAITERS if waits else 1) if self._pace else _Pace(0.0, 1)
        return treated

    def _started(self, left: int) -> Crew | None:
        """Starts processes if they shorten what is left."""
        if self._pace is None or not sys.executable or self._pace.seconds * left <= PAYS:
            return None
        count = cores() * self._pace.processes
        try:
            return Crew(count, self._shape, self._files) if count > 1 else None
        except OSError as error:
            raise RuntimeError(f"cannot start {count} processes that read images: {error.strerror}") from error


class _Pace(NamedTuple):
    """How long an image takes, in seconds, and how many processes a core that suggests."""

    seconds: float
    processes: int


def _busy() -> float:
    """Returns the seconds in which this thread computed, or could have if other programs had left it a core."""
    try:
        computed, queued, _ = SCHEDULED.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # another system
        return time.thread_time()
    return (int(computed) + int(queued)) / 1e9


def cores() -> int:
    """Returns how many cores this process may use, by its affinity and by the quota of its container."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
        quota, period = QUOTA.read_text(encoding="utf-8").split()
        count = min(count, max(1, int(quota) // int(period)))
    return count
