"""A command in a terminal of some columns, and what its screen shows."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time

UNFINISHED = re.compile(r"\x1b(\[[\d;]*)?$")  # what a read may end with
PIECES = re.compile(r"\x1b\[(?P<code>[\d;]*)(?P<what>[A-Za-z])|(?P<letter>.)", re.DOTALL)


class Screen:
    """Lines as a terminal shows them that wraps what is longer than its width, and changes no line when resized."""

    def __init__(self, columns):
        self.columns = columns
        self._rows, self._column = [[]], 0
        self._rest = ""

    def feed(self, text):
        text = self._rest + text
        unfinished = UNFINISHED.search(text)
        self._rest = unfinished[0] if unfinished else ""
        text = text.removesuffix(self._rest)
        for piece in PIECES.finditer(text):
            letter = piece["letter"]
            if letter == "\n":
                self._rows.append([])
            elif letter == "\r":
                self._column = 0
            elif letter is not None:
                self._put(letter)
            elif piece["what"] == "K":
                assert piece["code"] == ""
                del self._rows[-1][self._column :]
            else:
                assert piece["what"] == "m", piece

    def _put(self, letter):
        if self._column == self.columns:
            self._rows.append([])
            self._column = 0
        row = self._rows[-1]
        row.extend(" " * (self._column - len(row)))
        row[self._column : self._column + 1] = letter
        self._column += 1

    @property
    def lines(self):
        return ["".join(row).rstrip() for row in self._rows]


class Terminal:
    """A process that reads from and writes to a terminal."""

    def __init__(self, code, *arguments, columns, echo=False, environment=None):
        self._ours, theirs = pty.openpty()
        if not echo:
            settings = termios.tcgetattr(theirs)
            settings[3] &= ~termios.ECHO
            termios.tcsetattr(theirs, termios.TCSANOW, settings)
        self.screen = Screen(columns)
        self.written = ""
        self.resize(columns)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
            env={**os.environ, "TERM": "xterm", "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def resize(self, columns):
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.screen.columns = columns

    def type(self, text):
        os.write(self._ours, text.encode())

    def read(self, until, *, seconds=60.0):
        """Reads until the screen's text matches an expression; returns the lines."""
        deadline = time.monotonic() + seconds
        while not re.search(until, "\n".join(self.screen.lines)):
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            if not self._read() if ready else True:
                raise AssertionError(f"{until!r} does not appear in {self.screen.lines}")
        return self.screen.lines

    def to_end(self):
        """Reads what is left; returns the lines and the exit code."""
        while self._read():
            pass
        return self.screen.lines, self.process.wait(60)

    def _read(self):
        try:
            part = os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # nobody writes any more
            return False
        self.written += part
        self.screen.feed(part)
        return bool(part)
