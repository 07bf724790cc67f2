"""How far long work is, how fast it goes, and when it ends: a staying line on a terminal, short lines elsewhere.

A command whose output is a terminal runs within `on_terminal`, and the line stays below all other lines. Elsewhere, as
in the log of a pod, there are plain lines, at first every ten seconds and later less often. The steps of a run on this
machine write into a pipe, of which only the process at its other end knows that it leads to a terminal. That process
sets the variable `FORMAT` to `json`; a step then writes the values of a line as JSON, and the other process shows them.

Rich or tqdm could take over the class `Screen`, some forty lines. The pipe, the lines of a log, and what is left out
where a terminal is narrow would stay ours, so neither is a dependency.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from typing import TextIO

FORMAT = "GAN_PIPELINES_PROGRESS"  # variable of the environment
MARK = "\x1e"  # before JSON between lines of text, as in RFC 7464
LOG_WIDTH = 100
REDRAW = 0.2  # seconds
STEADY, SLOWEST = 200.0, 30.0  # seconds with the first rhythm of lines; how much slower it becomes at most
ERASE = "\r\x1b[K"
# The first that fits is taken. Nothing is cut out of a number.
LAYOUTS = (
    "{label} {percent:3d}%  {done:,}/{total:,} {unit}  {rate}/s  {end} {time}  {note}",
    "{label} {percent:3d}%  {rate} {unit}/s  {end} {time}  {note}",
    "{label} {percent:3d}%  {rate}/s  {end} {time}  {note}",
    "{label} {percent}%  {rate}/s  {time}  {brief}",
    "{percent}% {rate}/s {time} {brief}",
    "{percent}% {time} {brief}",
    "{label} {percent}%  {rate}/s  {time}",
    "{percent}%",
)


def duration(seconds: float) -> str:
    """Returns a time as people say it: `48s`, `3m05s`, `2h04m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def number(value: float) -> str:
    """Returns a number with three digits or, from 100, without a fraction: `0.0132`, `61.2`, `4,040`."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressLine:
    """The values of one line.

    Attributes:
        label: What is being done.
        done: Units that are done.
        total: Units in all.
        unit: What one unit is called, in the plural.
        rate: Units a second; of late, or on average where the work is complete.
        seconds: Seconds that are left or, where the work is complete, that it took; None if that is not known.
        note: What else is shown.
        brief: The same for a narrow terminal.
        due: Whether a log gets the line too.
    """

    label: str
    done: int
    total: int
    unit: str
    rate: float
    seconds: float | None
    note: str
    brief: str
    due: bool

    @property
    def complete(self) -> bool:
        """Whether all is done."""
        return self.done >= self.total

    def text(self, width: int) -> str:
        """Returns what fits into `width` columns."""
        values = dataclasses.asdict(self) | {
            "label": _cut(self.label, max(width // 3, 12)),
            "percent": 100 * self.done // max(self.total, 1),
            "rate": number(self.rate),
            "end": "took" if self.complete else "ETA",
            "time": "unknown" if self.seconds is None else duration(self.seconds),
        }
        texts = [layout.format(**values).rstrip() for layout in LAYOUTS]
        return next((text for text in texts if _columns(text) <= width), "")

    def to_json(self) -> str:
        """Returns the line of text that carries the values through a pipe."""
        return MARK + json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ProgressLine:
        """Returns the values that `to_json` wrote behind the mark."""
        return cls(**json.loads(text))


def _columns(text: str) -> int:
    """Returns how wide a terminal shows a text."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _cut(text: str, width: int) -> str:
    while _columns(text) > width:
        text = text[:-1]
    return text


class Screen(io.TextIOBase):
    """A terminal with one line that stays below the others, also where its width changes.

    A terminal that has become narrower may have wrapped the line: its first part then stays above, since whoever erased
    it would erase another line where the terminal wraps nothing.

    Args:
        terminal: The stream of the terminal.
    """

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal
        self._staying: ProgressLine | None = None
        self._drawn = False
        self._within = False  # a line that has no end yet
        self._lock = threading.RLock()  # lines come from several threads

    def isatty(self) -> bool:
        """Says whether this is a terminal."""
        return self._terminal.isatty()

    def fileno(self) -> int:
        """Returns the terminal's descriptor."""
        return self._terminal.fileno()

    def flush(self) -> None:
        """Hands on what was written."""
        self._terminal.flush()

    def write(self, text: str) -> int:
        """Writes text above the staying line."""
        with self._lock:
            self._erase()
            self._terminal.write(text)
            if text:
                self._within = not text.endswith("\n")
            self._draw()
        return len(text)

    def show(self, line: ProgressLine | None) -> None:
        """Shows a line in the place of the staying one, or none. A line of complete work becomes one as any other."""
        with self._lock:
            self._staying = None if line is None or line.complete else line
            self._erase()
            if line is not None and line.complete:
                self.write(line.text(self._width()) + "\n")
            self._draw()

    def _erase(self) -> None:
        if self._drawn:
            self._terminal.write(ERASE)
            self._drawn = False

    def _draw(self) -> None:
        if self._staying is not None and not self._within:
            self._drawn = True  # before it is, since Ctrl-C may come between
            self._terminal.write(self._staying.text(self._width()))
        self._terminal.flush()

    def _width(self) -> int:
        """Returns the columns that a line may take; in the last one, some terminals begin the next line."""
        return (os.get_terminal_size(self._terminal.fileno()).columns or 80) - 1


@contextlib.contextmanager
def on_terminal() -> Iterator[None]:
    """Lets lines of progress stay in place if standard output is a terminal that can erase a line."""
    if isinstance(sys.stdout, Screen) or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    screen = Screen(sys.stdout)
    with contextlib.ExitStack() as streams:
        streams.callback(screen.show, None)
        streams.enter_context(contextlib.redirect_stdout(screen))
        if sys.stderr.isatty():  # the same one
            streams.enter_context(contextlib.redirect_stderr(screen))
        yield


def show(line: ProgressLine, stream: TextIO) -> None:
    """Shows a line: it stays in place on a `Screen`, and another stream gets those that are due."""
    if isinstance(stream, Screen):
        stream.show(line)
    elif line.due:
        stream.write(line.text(LOG_WIDTH) + "\n")
        stream.flush()


class Progress:
    """Shows how far work is.

    Args:
        label: What is being done.
        total: How many units there are.
        unit: What one unit is called, in the plural.
        start: Units that were done before, as after a resume.
        interval: Seconds between two lines of a log in the first minutes; later they become more, up to thirty times as
            many.
    """

    def __init__(self, label: str, *, total: int, unit: str, start: int = 0, interval: float = 10.0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._interval = interval
        self._start, self._began = start, time.monotonic()
        self._earlier = self._last = (self._began, start)  # when lines of the log were due, and what was done then
        self._shown_at = 0.0
        self._note = self._brief = ""

    def update(self, done: int, *, note: str = "", brief: str = "", total: int | None = None) -> None:
        """Shows that `done` units are done, if it is time to or the work is complete.

        Args:
            done: Units, those before the start included.
            note: What else is shown; absent means the note before.
            brief: The same for a narrow terminal; absent means the note.
            total: How many units there are, if that has changed.
        """
        if total is not None:
            self._total = total
        if note:
            self._note, self._brief = note, brief or note
        now = time.monotonic()
        complete = done >= self._total
        slower = min(max((now - self._began) / STEADY, 1.0), SLOWEST)
        due = complete or now - self._last[0] >= self._interval * slower
        as_json = os.environ.get(FORMAT) == "json"
        stays = as_json or isinstance(sys.stdout, Screen)
        if not due and (not stays or now - self._shown_at < REDRAW):
            return
        mean_rate = (done - self._start) / max(now - self._began, 1e-9)
        # Since the line before the last one, so that it is never of a moment only.
        rate = mean_rate if complete else (done - self._earlier[1]) / max(now - self._earlier[0], 1e-9)
        left = (self._total - done) / mean_rate if mean_rate else None
        line = ProgressLine(
            label=self._label,
            done=done,
            total=self._total,
            unit=self._unit,
            rate=rate,
            seconds=now - self._began if complete else left,
            note=self._note,
            brief=self._brief,
            due=due,
        )
        if as_json:
            sys.stdout.write(line.to_json() + "\n")  # one write, into which no other thread's line comes
            sys.stdout.flush()
        else:
            show(line, sys.stdout)
        self._shown_at = now
        if due:
            self._earlier, self._last = self._last, (now, done)
