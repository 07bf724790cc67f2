"""What a process notices that is asked to end, as a pod is before its node is taken away."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """Notes SIGTERM while it is entered, instead of ending at once; true once it came.

    Python hears signals in its main thread only: in another one, nothing is changed.
    """

    def __init__(self) -> None:
        self._came = False
        self._listens = threading.current_thread() is threading.main_thread()
        self._before: signal._HANDLER = None

    def __enter__(self) -> Self:
        """Begins to listen."""
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the signal back to whoever had it."""
        if self._listens:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)  # none: it was not Python's

    def __bool__(self) -> bool:
        return self._came

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._came = True
        print("train: asked to end (SIGTERM), which it does after a checkpoint", flush=True)
