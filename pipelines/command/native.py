"""Drops what TensorFlow's C++ code logs before any of its settings is read."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.local.terminal import NATIVE

STDERR = 2
NOISE = re.compile(NATIVE.encode())
PATIENCE = 1.0  # seconds for the last lines


@contextmanager
def without_native_noise() -> Iterator[None]:
    """Drops lines of information and warnings that native code writes to standard error.

    Lines that this process writes with Python are not touched. Those of its children are, unless Python writes them to
    another stream; they come line by line and not to a terminal. Another process reads them, so that the last words of
    a process that aborts are shown too.

    Does nothing if TF_CPP_MIN_LOG_LEVEL asks for such lines, if TensorFlow has started, or if `sys.stderr` is not
    standard error, as in a test or a notebook.
    """
    python = sys.stderr
    asked = os.environ.get("TF_CPP_MIN_LOG_LEVEL") in ("0", "1")
    if asked or "tensorflow" in sys.modules or python is not sys.__stderr__ or python is None:
        yield
        return
    for stream in filter(None, (python, sys.stdout)):
        stream.flush()
    reading, writing = os.pipe()
    kept = os.dup(STDERR)
    child = _fork_filter(reading, writing)
    os.close(reading)
    os.dup2(writing, STDERR)
    os.close(writing)
    # It stays open, since a logger may have taken it.
    sys.stderr = open(kept, "w", buffering=1, encoding=python.encoding, errors=python.errors, closefd=False)  # noqa: SIM115
    sys.stderr.reconfigure(write_through=python.write_through)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        sys.stderr = python
        os.dup2(kept, STDERR)
        _wait(child)


def _fork_filter(reading: int, writing: int) -> int:
    """Starts the process that reads. There is one thread until TensorFlow starts others, so this may fork."""
    stops = {signal.SIGINT, signal.SIGTERM}  # meant for those who write
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    child = os.fork()
    if child == 0:
        try:
            os.close(writing)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in {0, 1} - {reading}:  # else it would keep them open
                os.dup2(nowhere, number)
            _filter(reading)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child


def _filter(reading: int) -> None:
    """Copies lines from a pipe to standard error, but for noise, until nobody can write any more."""
    with open(reading, "rb") as lines:
        for line in lines:
            if not NOISE.match(line):
                with suppress(OSError):  # such as a full disk, which those who write should not notice
                    os.write(STDERR, line)


def _wait(child: int) -> None:
    """Waits for the last lines, unless another process keeps the pipe."""
    end = time.monotonic() + PATIENCE
    with suppress(ChildProcessError):  # where SIGCHLD is ignored, nobody can wait
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < end:
            time.sleep(0.01)
