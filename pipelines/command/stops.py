"""Errors of the command line: a message and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ganlib import progress
from pipelines.command.native import without_native_noise

MISTAKE, FAILURE = 2, 1
INSTALL = "install the extra [train]: pip install -r requirements/train.txt"


class Stop(Exception):  # noqa: N818  # not always an error
    """Ends a command with a message of one or more lines and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def stop_on_errors(*, needs_train: bool = False, failures: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Turns expected errors into a `Stop`, whose message is printed without a traceback.

    Args:
        needs_train: Whether the code needs libraries of the extra [train]. Without it, a missing library is a bug.
        failures: Errors that become exit code 1. ValueError always becomes 2, the code for mistakes of the user.

    Raises:
        Stop: One of these errors was raised.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not needs_train:
            raise
        raise Stop(f"{error.name} is not installed; {INSTALL}", MISTAKE) from error
    except ValueError as error:
        raise Stop(str(error), MISTAKE) from error
    except BrokenPipeError:  # the reader of the output has closed it
        raise
    except failures as error:
        raise Stop(str(error), FAILURE) from error


class Commands(click.Group):
    """Prints a `Stop` as error lines and exits with its code."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            with without_native_noise(), progress.on_terminal():
                return super().invoke(context)
        except Stop as stop:
            for line in str(stop).splitlines():
                click.echo(f"error: {line}", err=True)
            context.exit(stop.code)
