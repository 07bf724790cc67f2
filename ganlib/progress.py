"""Lines that tell how far long work is, how fast it goes, and when it will end."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """Returns a time as people say it: `48s`, `3m05s`, `2h04m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Progress:
    """Prints a line at most every `interval` seconds, and one at the end.

    Args:
        label: What is being done.
        total: How many units there are.
        unit: What one unit is called, in the plural.
        start: Units that were done before, as after a resume.
        interval: Seconds between two lines.
    """

    def __init__(self, label: str, *, total: int, unit: str, start: int = 0, interval: float = 5.0) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._interval = interval
        self._start = self._shown = start
        self._began = self._shown_at = time.monotonic()

    def update(self, done: int, *, note: str = "") -> None:
        """Prints the line for `done` units if it is time, or if the work is complete."""
        now = time.monotonic()
        if done < self._total and now - self._shown_at < self._interval:
            return
        rate = (done - self._shown) / max(now - self._shown_at, 1e-9)
        mean_rate = (done - self._start) / max(now - self._began, 1e-9)
        left = duration((self._total - done) / mean_rate) if mean_rate else "unknown"
        percent = 100 * done // max(self._total, 1)
        end = f"ETA {left}" if done < self._total else f"took {duration(now - self._began)}"
        text = f"{self._label} {percent:3d}%  {done}/{self._total} {self._unit}  {rate:.3g} {self._unit}/s  {end}"
        print(f"{text}  {note}".rstrip(), flush=True)
        self._shown, self._shown_at = done, now
