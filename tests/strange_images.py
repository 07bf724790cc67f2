"""Places of images that do something to the process which opens them; importable there, as what is sent must be."""

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
    """One on a slow disk."""

    seconds: float = 0.05

    def open(self):
        time.sleep(self.seconds)
        return super().open()


@dataclass(frozen=True)
class Deadly(Plain):
    """One that ends the process, as a decoder with a fault does."""

    signal: int = signal.SIGKILL

    def open(self):
        os.kill(os.getpid(), self.signal)


class Leaving(Plain):
    """One that ends the process in good order."""

    def open(self):
        raise SystemExit(3)


@dataclass(frozen=True)
class Failing(Plain):
    """One that the machine fails to read."""

    error: Exception = MemoryError()  # noqa: RUF009  # it is only raised

    def open(self):
        raise self.error
