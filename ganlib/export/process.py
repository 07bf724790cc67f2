"""Processes of their own for what changes the settings of a process, or must be tried without this project."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

SECONDS = 300
MAX_REASON = 300  # characters


class Process:
    """A Python program that answers one question. It imports its libraries before the question is known.

    It reads one line of JSON from its standard input, and its last line of standard output is JSON. Use `process()`.
    """

    def __init__(self, started: subprocess.Popen[str]) -> None:
        self._started = started

    def answer(self, question: Mapping[str, Any], *, seconds: float = SECONDS) -> dict[str, Any]:
        """Returns the answer to a question.

        Args:
            question: What the program reads.
            seconds: How long it may take.

        Raises:
            RuntimeError: It takes longer, or fails. The message is the last line that it wrote.
        """
        try:
            output, errors = self._started.communicate(json.dumps(question) + "\n", timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"no answer within {seconds} s") from error
        code = self._started.returncode
        if code or not output.strip():
            ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}, no message"
            reason = errors.strip().splitlines()[-1:] or [ending]
            raise RuntimeError(reason[0][:MAX_REASON])
        answer: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return answer


@contextlib.contextmanager
def process(*program: str) -> Iterator[Process]:
    """Starts a program that sees no Python path but the installed packages; it ends with the block.

    Args:
        program: A file or `-c` with the program's text, and its arguments.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603  # our own programs
        [sys.executable, "-I", *program],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        encoding="utf-8",
        errors="backslashreplace",
    ) as started:
        try:
            yield Process(started)
        finally:
            started.kill()
