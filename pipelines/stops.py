"""How a command ends early: one line or more, and an exit code."""

from __future__ import annotations

from typing import Any

import click

MISTAKE, FAILURE = 2, 1


class Stop(Exception):  # noqa: N818  # an end, not always a fault
    """Ends a command with one line or more and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Commands(click.Group):
    """Turns a `Stop` of any command into what people and programs read."""

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(context)
        except Stop as stop:
            for line in str(stop).splitlines():
                click.echo(f"error: {line}", err=True)
            context.exit(stop.code)
