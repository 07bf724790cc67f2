"""How a command ends early: one line or more, and an exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from ganlib import progress

MISTAKE, FAILURE = 2, 1
EXTRA = "it comes with the extra [train]: pip install -r requirements/train.txt"


class Stop(Exception):  # noqa: N818  # an end, not always a fault
    """Ends a command with one line or more and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def for_people(*, extra: bool = False, failures: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Turns what was raised for people to read into the end of a command.

    Args:
        extra: Whether a library that is missing is one of the extra [train]; otherwise it is a fault of ours.
        failures: Errors that are not the user's mistake, as ValueError is.

    Raises:
        Stop: One of them was raised.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not extra:
            raise
        raise Stop(f"{error.name} is missing; {EXTRA}", MISTAKE) from error
    except ValueError as error:
        raise Stop(str(error), MISTAKE) from error
    except BrokenPipeError:  # whoever reads the output has seen enough
        raise
    except failures as error:
        raise Stop(str(error), FAILURE) from error


@contextmanager
def ended_like_ctrl_c(*, first: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lets SIGTERM end a command as Ctrl-C does, so that it clears up and says a last line.

    Args:
        first: What is done before; a terminal's Ctrl-C goes to the command's processes too, SIGTERM does not.

    Raises:
        KeyboardInterrupt: It came.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        first()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # Python hears signals in that one only
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Commands(click.Group):
    """Turns a `Stop` of any command into what people and programs read."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            with progress.on_terminal():
                return super().invoke(context)
        except Stop as stop:
            for line in str(stop).splitlines():
                click.echo(f"error: {line}", err=True)
            context.exit(stop.code)
