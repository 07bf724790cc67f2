"""What a score is: a value with its error, and what real images score in its place."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ganlib import __version__

LIBRARIES = ("tensorflow", "tensorflow-cpu", "keras", "numpy")


@dataclass(frozen=True)
class Score:
    """One measure of the generated images.

    Attributes:
        name: Measure and feature space.
        value: Of the generated images.
        floor: Of real images in their place, or None where that says nothing.
        meaning: What it tells, in a sentence.
        error: Standard error of the value over draws of the images, or None where none is known.
        floor_error: Standard error of the floor, likewise.
        count: Generated images that it is of, where that is known.
        floor_count: Real images that the floor is of, where that is known.

    Raises:
        ValueError: A number is not finite: the measure could not be taken.
    """

    name: str
    value: float
    floor: float | None
    meaning: str
    error: float | None = None
    floor_error: float | None = None
    count: int | None = None
    floor_count: int | None = None

    def __post_init__(self) -> None:
        """Refuses what is no number, before it becomes a cell of a table."""
        for name in ("value", "floor", "error", "floor_error"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(
                    f"the measure {self.name} cannot be taken of these images. Received: {name}={float(number)}"
                )

    @property
    def text(self) -> str:
        """The value to a few digits, with its error."""
        return _text(self.value, self.error)

    @property
    def floor_text(self) -> str:
        """The floor to a few digits, with its error, and how many images it is of unless as many; empty without one."""
        if self.floor is None:
            return ""
        alike = self.floor_count in (None, self.count)
        return _text(self.floor, self.floor_error) + ("" if alike else f" ({self.floor_count} images)")


def with_floors(scores: Sequence[Score], real: Sequence[Score]) -> list[Score]:
    """Returns scores with those of real images, by name, as their floors."""
    floors = {score.name: score for score in real}
    return [
        replace(score, floor=floor.value, floor_error=floor.error, floor_count=floor.count)
        if (floor := floors.get(score.name))
        else score
        for score in scores
    ]


def share_error(hits: float, count: int) -> float:
    """Returns the standard error of a share, hits / count; not zero where none or all of them hit (Laplace's rule)."""
    share = (hits + 1.0) / (count + 2.0)
    return math.sqrt(share * (1.0 - share) / count)


def versions() -> str:
    """Names the versions of the libraries that made a score."""
    found = {"gan-pipelines": __version__}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _text(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {float(f'{error:.2g}'):g}"
