"""SIGTERM, which a pod gets before its node is taken away."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """A context that remembers SIGTERM instead of ending the process; it is true once the signal came.

    Python handles signals in its main thread only. In another thread nothing is changed.
    """

    def __init__(self) -> None:
        self._received = False
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        self._before: signal._HANDLER = None

    def __enter__(self) -> Self:
        """Replaces the handler of SIGTERM."""
        if self._in_main_thread:
            self._before = signal.signal(signal.SIGTERM, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restores the handler."""
        if self._in_main_thread:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)  # None: the handler was not one of Python

    def __bool__(self) -> bool:
        return self._received

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._received = True
        print("train: SIGTERM received; training ends after a checkpoint", flush=True)
