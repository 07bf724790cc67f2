"""What a person sees while the steps run: their own lines, not KFP's dump of its inputs. A file keeps all."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TextIO

from ganlib import progress

# Information and warnings of native code, written before any setting reaches it.
NATIVE = r"[IW]0000 \d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] |WARNING: All log messages before absl"
# Beside these, what KFP repeats for every step. The file has all.
NOISE = re.compile(rf"\s*(\[KFP Executor|{NATIVE}|E0000 |[IW]\d{{4}} \d\d:\d\d:|-{{20,}}$)")
KFP_LINE = re.compile(r"(?P<time>\d\d:\d\d:\d\d)\.\d+ - INFO - (?P<text>.*)")
STEP_BEGINS = re.compile(r"Executing task (?P<colour>\x1b\[\d+m)?'(?P<name>[^']*)'")
DUMP_BEGINS = "Got executor_input:"
DUMPED = re.compile(r"^ {4}[\s{}]")  # JSON, indented like everything that a step prints
DUMP_ENDS = "    }"
OUTPUTS_BEGIN = re.compile(r"Task '.*' outputs:$")  # long lines, indented; the summary at the end says what matters
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
INDENT = "    "  # what KFP puts before each line of a step
# The command's last line says that a step failed, and repeats the step's own line.
FAILED = re.compile(r"\S+ - ERROR - Task .* finished with status ")
# KFP's own lines of a run that succeeds.
EXPECTED = re.compile(r"(Running pipeline: |Streamed logs:$|Task '.*' finished with |Pipeline '.*' finished with )")


class StepLog(io.TextIOBase):
    """A stream that writes every line to a file, and those worth reading to the terminal.

    Args:
        file: Where all lines go.
        terminal: Where the chosen ones go.
    """

    def __init__(self, file: TextIO, terminal: TextIO) -> None:
        super().__init__()
        self._file, self._terminal = file, terminal
        self._part = ""
        self._step = ""  # its name
        self._dumping = False
        self._listing = False
        self._heading = False  # whether the last line is one
        self._gap = False  # whether a blank line comes before the next one

    def write(self, text: str) -> int:
        """Takes text in pieces of any size."""
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self._take(line)
        self.flush()
        return len(text)

    def close(self) -> None:
        """Takes a last line that no newline ended."""
        if not self.closed and self._part:
            self._take(self._part)
            self._part = ""
        super().close()

    def flush(self) -> None:
        """Hands on what was written."""
        self._file.flush()
        self._terminal.flush()

    def _take(self, line: str) -> None:
        text, mark, values = line.partition(progress.MARK)
        if mark and self._take_progress(values):
            if not text.strip():
                return
            line = text  # of another thread
        plain = COLOUR.sub("", line)
        self._file.write(plain + "\n")
        kfp_match = KFP_LINE.match(line)
        if kfp_match:
            self._take_kfp(line, kfp_match["time"], kfp_match["text"])
        elif self._is_shown(line):
            self._print(line.removeprefix(INDENT))

    def _take_progress(self, values: str) -> bool:
        """Shows a line of progress; says whether it is one, since other programs may print anything."""
        try:
            line = progress.ProgressLine.from_json(values)
        except (TypeError, ValueError):
            return False
        if line.due:
            self._file.write(f"{INDENT}{line.text(progress.LOG_WIDTH)}\n")
        progress.show(line, self._terminal)
        self._gap = self._heading = False
        return True

    def _take_kfp(self, line: str, time: str, text: str) -> None:
        """Prints where a step begins, and what KFP says beside its usual lines."""
        plain = COLOUR.sub("", text)
        self._dumping = False
        self._listing = bool(OUTPUTS_BEGIN.match(plain))
        begins = STEP_BEGINS.match(text)
        if isinstance(self._terminal, progress.Screen):  # whatever still stays there is of the step before
            self._terminal.show(None)
        if begins:
            name = begins["name"].replace("-", "_")  # as the step is called everywhere else
            self._gap, self._step = True, name
            self._print(f"{time}  {begins['colour'] or ''}{name}\x1b[0m")
            self._heading = True
        elif not self._listing and not EXPECTED.match(plain):
            self._print(line)

    def _print(self, line: str) -> None:
        if self._gap:
            self._terminal.write("\n")
        self._gap = self._heading = False
        self._terminal.write((line if self._terminal.isatty() else COLOUR.sub("", line)) + "\n")

    def _is_shown(self, line: str) -> bool:
        """Drops noise and what KFP says of a step's inputs and outputs; blank lines wait for the next line."""
        if self._dumping and DUMPED.match(line):
            self._dumping = line.rstrip() != DUMP_ENDS
            return False
        self._dumping = DUMP_BEGINS in line
        self._listing = self._listing and line.startswith(" ")
        if self._listing:
            return False
        if not line.strip():
            self._gap = not self._heading
            return False
        own_error = bool(self._step) and line.strip().startswith(f"error: {self._step}: ")
        return not (own_error or FAILED.match(COLOUR.sub("", line)) or NOISE.match(line))


@contextmanager
def step_log(path: Path) -> Iterator[None]:
    """Sends standard output through a `StepLog` that appends to a file."""
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        log = StepLog(file, sys.stdout)
        try:
            with redirect_stdout(log):
                yield
        finally:
            log.close()
