"""Scores: a value with its standard error, and the value that real images reach."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import __version__, storage

with epy.lazy_imports():
    import keras
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAY_DIFFER = ("seed",)  # facts of a protocol: another seed draws other samples for the same measure


@dataclass(frozen=True)
class Score:
    """One measure of the generated images.

    Attributes:
        name: Name of the measure and of the feature space, such as `fd_digits_classifier`.
        value: Score of the generated images.
        floor: Score of real images instead of generated ones, or in paired measures of the inputs; None if it has no
            meaning for this measure.
        meaning: Explanation in one sentence.
        error: Standard error of the value over draws of the images; None if unknown.
        floor_error: Standard error of the floor; None if unknown.
        count: Number of generated images, if known.
        floor_count: Number of real images of the floor, if known.
        baseline: Score of doing nothing, for tasks that change images: that of their inputs; None for other tasks.

    Raises:
        ValueError: A number is not finite: the measure cannot be computed for these images.
    """

    name: str
    value: float
    floor: float | None
    meaning: str
    error: float | None = None
    floor_error: float | None = None
    count: int | None = None
    floor_count: int | None = None
    baseline: float | None = None

    def __post_init__(self) -> None:
        """Refuses values that are not finite, before they get into a table."""
        for name in ("value", "floor", "error", "floor_error", "baseline"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(
                    f"the measure {self.name} cannot be computed for these images. Received: {name}={float(number)}"
                )

    @property
    def text(self) -> str:
        """The value with its error, rounded."""
        return _text(self.value, self.error)

    @property
    def floor_text(self) -> str:
        """The floor with its error, rounded, and its number of images if that differs; empty without a floor."""
        if self.floor is None:
            return ""
        same_count = self.floor_count in (None, self.count)
        return _text(self.floor, self.floor_error) + ("" if same_count else f" ({self.floor_count} images)")

    @property
    def baseline_text(self) -> str:
        """The baseline, rounded; empty without one."""
        return "" if self.baseline is None else _text(self.baseline, None)


def add_baselines(scores: Sequence[Score], unchanged: Sequence[Score]) -> list[Score]:
    """Returns scores with the scores of unchanged inputs, matched by name, as their baselines."""
    baselines = {score.name: score.value for score in unchanged}
    return [replace(score, baseline=baselines.get(score.name)) for score in scores]


def add_floors(scores: Sequence[Score], real: Sequence[Score]) -> list[Score]:
    """Returns scores with the scores of real images, matched by name, as their floors."""
    floors = {score.name: score for score in real}
    return [
        replace(score, floor=floor.value, floor_error=floor.error, floor_count=floor.count)
        if (floor := floors.get(score.name))
        else score
        for score in scores
    ]


def mean_score(name: str, values: NDArray[np.float64], meaning: str) -> Score:
    """Returns the mean of the values [N] of single images as a score, with its standard error if there are several."""
    count = len(values)
    error = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else None
    return Score(name, float(values.mean()), None, meaning, error, count=count)


def fraction_error(hits: float, count: int) -> float:
    """Returns the standard error of the fraction hits / count; by Laplace's rule, it is above zero for 0 and for 1."""
    fraction = (hits + 1.0) / (count + 2.0)
    return math.sqrt(fraction * (1.0 - fraction) / count)


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Returns eight hex digits, which are equal for scores that may be compared. The seed does not count."""
    facts = {name: value for name, value in protocol.items() if name not in MAY_DIFFER}
    return hashlib.sha256(storage.canonical_json(facts).encode()).hexdigest()[:8]


def versions() -> str:
    """Returns the versions of the libraries that scores depend on, as text.

    They are asked for theirs, since one library has packages of several names, such as tensorflow-cpu and tf-nightly.
    """
    libraries = {"tensorflow": tf, "keras": keras, "numpy": np}
    used = {"gan-pipelines": __version__, **{name: library.__version__ for name, library in libraries.items()}}
    return ", ".join(f"{name} {version}" for name, version in used.items())


def _text(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {float(f'{error:.2g}'):g}"
