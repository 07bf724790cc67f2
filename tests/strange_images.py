"""Image locations that affect the process which opens them. In a module, so that a worker process can import them."""

import os
import signal
import time
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Plain:
    """A grey image of one shade."""

    shade: int = 0

    def open(self):
        return Image.new("L", (8, 8), self.shade)


@dataclass(frozen=True)
class Slow(Plain):
    """An image on a slow disk."""

    seconds: float = 0.05

    def open(self):
        time.sleep(self.seconds)
        return super().open()


@dataclass(frozen=True)
class Deadly(Plain):
    """An image that kills the process, like a decoder that crashes."""

    signal: int = signal.SIGKILL

    def open(self):
        os.kill(os.getpid(), self.signal)


class Leaving(Plain):
    """An image that exits the process normally."""

    def open(self):
        raise SystemExit(3)


@dataclass(frozen=True)
class Failing(Plain):
    """An image that the machine fails to read."""

    error: Exception = MemoryError()  # noqa: RUF009  # it is only raised

    def open(self):
        raise self.error
