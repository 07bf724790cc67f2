"""Images brought to one shape by as many processes as there are cores, in the order in which they were asked for.

The processes are plain ones. Those of `multiprocessing` would import the user's script once more, which a script
without a guard does not survive and standard input cannot; those that it forks inherit the locks of this one's threads.
A process gets the shape and the places of some images at a time, never the listing. It ends with this one, however
that ends, since then nobody holds the other end of its channel.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from ganlib.data import tfrecord
from ganlib.data.conform import Colour, Fit, Resize, UnusableImageError, conform
from ganlib.data.stored import Stored

NO_LABEL = -1
PAYS = 1.0  # seconds of work from which on it pays to start processes, which takes a fifth of one
WAITING = 3.0  # times its work: who takes so long to read waits for a slow disk, so that more can wait at once
NOTICED = 0.1  # seconds of waiting; less is no matter
WAITERS = 4  # processes a core then
AHEAD = 2  # chunks a process that may be asked for before they are needed
SCHEDULED = Path("/proc/thread-self/schedstat")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; from ganlib.data.reading import serve; serve(*map(int, sys.argv[1:3]))"
)

Chunk = Sequence[tuple[Stored, int | None]]
"""Places of some images, and their labels."""


class Shape(NamedTuple):
    """What images are brought to; see `conform`."""

    size: int
    colour: Colour
    fit: Fit
    resize: Resize
    min_side: int


class Treated(NamedTuple):
    """What became of a chunk: the records of the usable images, and why each of the others is none, by position."""

    records: bytes
    refusals: dict[int, str]
    remarks: Counter[str]


class Reader:
    """Reads images here, or in processes if they are many; use it in a `with` statement.

    Args:
        shape: What they are brought to.
        files: Descriptors of the open files that the places refer to.
    """

    def __init__(self, shape: Shape, files: Sequence[int]) -> None:
        self._shape, self._files = shape, files
        self._crew: _Crew | None = None
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

    def _started(self, left: int) -> _Crew | None:
        """Starts processes if they shorten what is left."""
        if self._pace is None or not sys.executable or self._pace.seconds * left <= PAYS:
            return None
        count = cores() * self._pace.processes
        try:
            return _Crew(count, self._shape, self._files) if count > 1 else None
        except OSError as error:
            raise RuntimeError(f"cannot start {count} processes that read images: {error.strerror}") from error


class _Pace(NamedTuple):
    """How long an image takes, in seconds, and how many processes a core that suggests."""

    seconds: float
    processes: int


class _Crew:
    """Processes, each asked by a thread of its own: who sends and receives in turn cannot be waited for in vain."""

    def __init__(self, count: int, shape: Shape, files: Sequence[int]) -> None:
        self._processes: list[_Process] = []
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count)
        try:
            for _ in range(count):
                self._processes.append(_Process(shape, files))
                self._idle.put(self._processes[-1])
        except BaseException:
            self.end()
            raise

    def treat(self, chunks: Iterable[Chunk]) -> Iterator[Treated]:
        asked: deque[Future[Treated]] = deque()
        for chunk in chunks:
            asked.append(self._threads.submit(self._ask, chunk))
            if len(asked) > AHEAD * len(self._processes):
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()

    def _ask(self, chunk: Chunk) -> Treated:
        process = self._idle.get()
        try:
            return process.treat(chunk)
        finally:
            self._idle.put(process)

    def end(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()  # and whoever waits for its answer gets the end of file
        self._threads.shutdown()
        for process in self._processes:
            process.close()


class _Process:
    """A process and what is shared with it: a channel for words, and a file without a name for records."""

    def __init__(self, shape: Shape, files: Sequence[int]) -> None:
        self._channel, theirs = Pipe()
        self._records = _nameless()
        shared = [theirs.fileno(), self._records.fileno()]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-c", PROGRAM, *map(str, shared), *sys.path],
                pass_fds=[*shared, *files],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for this process alone, which then ends the others
            )
        self._channel.send(shape)

    def treat(self, chunk: Chunk) -> Treated:
        try:
            self._channel.send(chunk)
            size, *others = self._channel.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"a process that read images {self._ending()}; {len(chunk)} were under way") from error
        return Treated(os.pread(self._records.fileno(), size, 0), *others)

    def _ending(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        kill = -code == signal.SIGKILL
        return f"was ended by {signal.Signals(-code).name}{', as where memory is short' if kill else ''}"

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        self._channel.close()
        self._records.close()


def _nameless() -> BinaryIO:
    """Returns a file that is in memory where the system has such."""
    if sys.platform == "linux":
        file = open(os.memfd_create("records"), "w+b", buffering=0)  # noqa: PTH123, SIM115
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    return cast("BinaryIO", file)


def serve(channel: int, records: int) -> None:
    """Treats chunks until nobody asks any more: the main function of a process.

    Args:
        channel: Descriptor of an end of a channel, on which the shape comes first.
        records: Descriptor of a file that records are left in, from its beginning.
    """
    with Connection(channel) as asked, contextlib.suppress(EOFError, ConnectionError):
        shape = asked.recv()
        while True:
            treated = treat(shape, asked.recv())
            os.pwrite(records, treated.records, 0)
            asked.send((len(treated.records), treated.refusals, treated.remarks))


def treat(shape: Shape, chunk: Chunk) -> Treated:
    """Brings images to the configured shape and makes records of them."""
    records, refusals, remarks = [], {}, Counter[str]()
    for position, (stored, label) in enumerate(chunk):
        try:
            image, lost = conform(
                stored.open,
                size=shape.size,
                colour=shape.colour,
                fit=shape.fit,
                resize=shape.resize,
                min_side=shape.min_side,
            )
        except UnusableImageError as error:
            refusals[position] = str(error)
            continue
        remarks.update(lost)
        records.append(tfrecord.framed(tfrecord.example(image.tobytes(), NO_LABEL if label is None else label)))
    return Treated(b"".join(records), refusals, remarks)


def _busy() -> float:
    """Returns the seconds in which this thread computed, or could have if other programs had left it a core."""
    try:
        computed, queued, _ = SCHEDULED.read_text().split()
    except (OSError, ValueError):  # another system
        return time.thread_time()
    return (int(computed) + int(queued)) / 1e9


def cores() -> int:
    """Returns how many cores this process may use, by its affinity and by the quota of its container."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
        quota, period = QUOTA.read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count
