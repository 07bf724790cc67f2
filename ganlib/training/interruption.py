"""Signals that end training: SIGTERM, which a pod gets before its node is taken away, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class TrainingInterrupted(RuntimeError):  # noqa: N818  # the user's wish, or the platform's
    """SIGTERM or Ctrl-C ended a training after a checkpoint."""


class TrainingPaused(RuntimeError):  # noqa: N818  # what the caller asked for
    """A training has come to the step at which it was to pause, after a checkpoint."""


class Interruption:
    """A context that remembers SIGTERM and Ctrl-C instead of ending the process; it is true once one came.

    A second Ctrl-C raises `KeyboardInterrupt`. Where a process ignores Ctrl-C, it goes on doing so. Python handles
    signals in its main thread only. In another thread nothing is changed.
    """

    def __init__(self) -> None:
        self._received: set[int] = set()
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        """Replaces the handlers of both signals."""
        if self._in_main_thread:
            for number in (signal.SIGTERM, signal.SIGINT):
                if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restores the handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: the handler was not one of Python

    def __bool__(self) -> bool:
        return bool(self._received)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and number in self._received:
            raise KeyboardInterrupt
        if not self._received:
            name, again = signal.Signals(number).name, ""
            if number == signal.SIGINT:
                name, again = "Ctrl-C", "; once more ends it at once"
            print(f"train: {name} received; training ends after a checkpoint{again}", flush=True)
        self._received.add(number)
