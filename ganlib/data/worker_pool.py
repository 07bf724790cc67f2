"""A pool of worker processes that prepare chunks of images and return the results in order.

The workers are plain subprocesses. `multiprocessing` would either import the user's script again, which fails without
a main guard and for scripts on standard input, or fork, which copies the locks of this process's threads. A worker
receives the options and the locations of some images at a time, never the whole listing. It ends when this process
ends, for whatever reason, because the other end of its pipe is then closed.

`ProcessPoolExecutor` and joblib's loky need less code, but their workers survive a parent that is killed and cannot
take open files along, and the former does not report the signal that ended a worker.
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

AHEAD = 2  # chunks per process that are requested before they are needed
PROGRAM = (
    "import sys; sys.path[:] = sys.argv[3:]; from ganlib.data.worker_pool import serve; serve(*map(int, sys.argv[1:3]))"
)


class WorkerPool:
    """Worker processes, each served by a thread of its own, which sends and receives in turn and so cannot deadlock.

    Args:
        count: Number of processes.
        options: How the images are converted.
        files: Descriptors of the open files that the locations of images refer to.

    Raises:
        OSError: The system cannot start another process.
    """

    def __init__(self, count: int, options: ConformOptions, files: Sequence[int]) -> None:
        self._processes: list[_Process] = []
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count)
        try:
            for _ in range(count):
                self._processes.append(_Process(options, files))
                self._idle.put(self._processes[-1])
        except BaseException:
            self.end()
            raise

    def prepare_chunks(self, chunks: Iterable[Chunk]) -> Iterator[ChunkResult]:
        """Yields the result of each chunk, in order.

        Raises:
            RemoteError: A bucket cannot be read.
            ReadError: This machine failed to read an image.
            RuntimeError: A process ended before its work was done.
        """
        pending: deque[Future[ChunkResult]] = deque()
        for chunk in chunks:
            pending.append(self._threads.submit(self._prepare, chunk))
            if len(pending) > AHEAD * len(self._processes):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _prepare(self, chunk: Chunk) -> ChunkResult:
        process = self._idle.get()
        try:
            return process.prepare_chunk(chunk)
        finally:
            self._idle.put(process)

    def end(self) -> None:
        """Ends all processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()  # a thread that waits for its answer then receives the end of file
        self._threads.shutdown()
        for process in self._processes:
            process.close()


class _Process:
    """A worker process, with a pipe for messages and an unnamed file for records."""

    def __init__(self, options: ConformOptions, files: Sequence[int]) -> None:
        self._channel, theirs = Pipe()
        self._records = _unnamed_file()
        shared = [theirs.fileno(), self._records.fileno()]
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-c", PROGRAM, *map(str, shared), *sys.path],
                pass_fds=[*shared, *files],
                stdin=subprocess.DEVNULL,
                process_group=0,  # only this process receives Ctrl-C, and then ends the others
            )
        except BaseException:
            self._close_files()
            raise
        finally:
            theirs.close()
        self._channel.send(options)

    def prepare_chunk(self, chunk: Chunk) -> ChunkResult:
        try:
            self._channel.send(chunk)
            failure, size, *others = self._channel.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"a process that read images {self._ending()}; it was reading {len(chunk)}") from error
        if failure is not None:
            raise failure
        return ChunkResult(os.pread(self._records.fileno(), size, 0), *others)

    def _ending(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        kill = -code == signal.SIGKILL
        return f"was ended by {signal.Signals(-code).name}{', perhaps for lack of memory' if kill else ''}"

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        self._close_files()

    def _close_files(self) -> None:
        self._channel.close()
        self._records.close()


def _unnamed_file() -> BinaryIO:
    """Returns an unnamed file, which is in memory if the system supports that."""
    if sys.platform == "linux":
        file = open(os.memfd_create("records"), "w+b", buffering=0)  # noqa: PTH123, SIM115
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    return cast("BinaryIO", file)


def serve(channel: int, records: int) -> None:
    """Prepares chunks until the pipe is closed: the main function of a worker process.

    Args:
        channel: Descriptor of an end of a pipe, on which the options arrive first, then chunks.
        records: Descriptor of a file that the records of each chunk are written to, from its beginning.
    """
    with Connection(channel) as requests, contextlib.suppress(EOFError, ConnectionError):
        options = requests.recv()
        while True:
            try:
                result = prepare_chunk(options, requests.recv())
            except (RemoteError, ReadError) as error:  # their only argument is a text, so they can be pickled
                requests.send((error, 0))
                continue
            os.pwrite(records, result.records, 0)
            requests.send((None, len(result.records), *result[1:]))
