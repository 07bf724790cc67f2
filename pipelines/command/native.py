"""Keeps off the terminal what TensorFlow's C++ code logs while it starts, before any of its settings is read."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

STDERR = 2
# Of the levels information and warning. Errors are shown.
NOISE = re.compile(rb"[IW]0000 \d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] |WARNING: All log messages before absl")
PATIENCE = 1.0  # seconds for the last lines


@contextmanager
def without_native_noise() -> Iterator[None]:
    """Drops the information and warnings that native code writes to standard error.

    What Python writes there is not touched. A process of its own reads the lines, so that the last words of a process
    that aborts are shown too. Does nothing where `sys.stderr` is something else, as in a test.
    """
    python = sys.stderr
    if python is not sys.__stderr__ or python is None or "tensorflow" in sys.modules:
        yield
        return
    python.flush()
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()  # while there is one thread; TensorFlow starts more
    if child == 0:
        os.close(writing)
        _filter(reading)
    os.close(reading)
    kept = os.dup(STDERR)
    os.dup2(writing, STDERR)
    os.close(writing)
    # It stays open, since a logger may have taken it.
    sys.stderr = open(kept, "w", buffering=1, encoding=python.encoding, errors=python.errors, closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python
        os.dup2(kept, STDERR)
        _wait(child)


def _filter(reading: int) -> NoReturn:
    """Copies lines from a pipe to standard error, but for noise, until nobody can write any more."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for those who write
        signal.signal(number, signal.SIG_IGN)
    try:
        with open(reading, "rb") as lines:
            for line in lines:
                if not NOISE.match(line):
                    os.write(STDERR, line)
    finally:
        os._exit(0)


def _wait(child: int) -> None:
    """Waits for the last lines, unless a process that this one started keeps the pipe."""
    end = time.monotonic() + PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < end:
        time.sleep(0.01)
