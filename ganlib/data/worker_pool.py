"""Images brought to one shape by as many processes as there are cores, in the order in which they were asked for.

The processes are plain ones. Those of `multiprocessing` would import the user's script once more, which a script
without a guard does not survive and standard input cannot; those that it forks inherit the locks of this one's threads.
A process gets the shape and the places of some images at a time, never the listing. It ends with this one, however
that ends, since then nobody holds the other end of its channel.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from typing import BinaryIO, cast

from ganlib.data.image_chunks import Chunk, ChunkResult, ConformOptions, ReadError, prepare_chunk
from ganlib.remote.file import RemoteError

AHEAD = 2  # chunks a process that may be asked for before they are needed
PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; from ganlib.data.worker_pool import serve; serve(*map(int, sys.argv[1:3]))"
)


class WorkerPool:
    """Processes, each asked by a thread of its own: who sends and receives in turn cannot be waited for in vain.

    Args:
        count: How many.
        shape: What they bring images to.
        files: Descriptors of the open files that the places of images refer to.

    Raises:
        OSError: The system takes no further process.
    """

    def __init__(self, count: int, shape: ConformOptions, files: Sequence[int]) -> None:
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

    def prepare_chunks(self, chunks: Iterable[Chunk]) -> Iterator[ChunkResult]:
        """Yields what became of each chunk, in their order.

        Raises:
            RemoteError: A bucket cannot be read.
            ReadError: This machine failed to read an image.
            RuntimeError: A process ended before its work was done.
        """
        asked: deque[Future[ChunkResult]] = deque()
        for chunk in chunks:
            asked.append(self._threads.submit(self._ask, chunk))
            if len(asked) > AHEAD * len(self._processes):
                yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()

    def _ask(self, chunk: Chunk) -> ChunkResult:
        process = self._idle.get()
        try:
            return process.prepare_chunk(chunk)
        finally:
            self._idle.put(process)

    def end(self) -> None:
        """Ends all processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()  # and whoever waits for its answer gets the end of file
        self._threads.shutdown()
        for process in self._processes:
            process.close()


class _Process:
    """A process and what is shared with it: a channel for words, and a file without a name for records."""

    def __init__(self, shape: ConformOptions, files: Sequence[int]) -> None:
        self._channel, theirs = Pipe()
        self._records = _nameless()
        shared = [theirs.fileno(), self._records.fileno()]
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-c", PROGRAM, *map(str, shared), *sys.path],
                pass_fds=[*shared, *files],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for this process alone, which then ends the others
            )
        except BaseException:
            self._forget()
            raise
        finally:
            theirs.close()
        self._channel.send(shape)

    def prepare_chunk(self, chunk: Chunk) -> ChunkResult:
        try:
            self._channel.send(chunk)
            failure, size, *others = self._channel.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"a process that read images {self._ending()}; {len(chunk)} were under way") from error
        if failure is not None:
            raise failure
        return ChunkResult(os.pread(self._records.fileno(), size, 0), *others)

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
        self._forget()

    def _forget(self) -> None:
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
            try:
                result = prepare_chunk(shape, asked.recv())
            except (RemoteError, ReadError) as error:  # made of a text alone, so that they can be sent
                asked.send((error, 0))
                continue
            os.pwrite(records, result.records, 0)
            asked.send((None, len(result.records), *result[1:]))
