"""The score of a candidate during training, over images and over seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.selection.outcome import Outcome

SPEED = "speed/steps_per_second"


@dataclass(frozen=True)
class Curve:
    """Scores during training. The sequences have one item for each score.

    Attributes:
        outcome: The candidate.
        images: Real images that the discriminator had seen, nan if unknown; steps if no candidate knows its images.
        seconds: Seconds of training.
        values: Scores.
    """

    outcome: Outcome
    images: tuple[float, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]

    def best_until(self, images: float) -> float | None:
        """Returns the lowest score until the discriminator had seen a number of images; None if there is none yet."""
        seen = [value for place, value in zip(self.images, self.values, strict=True) if place <= images]
        return min(seen, default=None)


def read_curves(outcomes: Sequence[Outcome]) -> tuple[str, list[Curve]]:
    """Returns the name of the score in the histories, and a curve for each candidate that has one.

    Training scores itself by a distance or a difference to the true images: always the lower, the better. Histories
    that score themselves by something else than most others are left out.
    """
    histories = {id(outcome): outcome.history for outcome in outcomes}
    names = [name for outcome in outcomes if (name := _score_name(histories[id(outcome)], outcome.measure))]
    if not names:
        return "", []
    common = max(names, key=names.count)
    curves = [_curve(one, histories[id(one)], common, each=_images_of_a_step(one, outcomes)) for one in outcomes]
    return common, [curve for curve in curves if curve.values]


def _images_of_a_step(outcome: Outcome, outcomes: Sequence[Outcome]) -> float:
    """Returns how many real images a step of a candidate shows; nan if that is unknown, 1 if it is of nobody known.

    A candidate that failed may not know it: then another seed of its variant does, or all others, if they agree.
    """
    known = [one for one in outcomes if one.images and one.steps]
    if not known:
        return 1.0
    same = [one for one in known if one.variant == outcome.variant]
    of_all = {one.images / one.steps for one in same or known if one.images and one.steps}
    return of_all.pop() if len(of_all) == 1 or same else math.nan


def _score_name(history: Sequence[Mapping[str, Any]], measure: str | None) -> str | None:
    """Returns the score that a history and the ranking have in common, or else the first one."""
    names = list(dict.fromkeys(name for row in history for name in row if name.startswith(("training/", "truth/"))))
    for wanted in (f"training/{measure}", f"truth/{measure}"):
        if wanted in names:
            return wanted
    means = [name for name in names if name.startswith("training/mean_")]
    return next(iter(means or names), None)


def _curve(outcome: Outcome, history: Sequence[Mapping[str, Any]], name: str, *, each: float) -> Curve:
    seconds, last, points = 0.0, None, []
    for row in history:
        steps = row["step"] - (last["step"] if last else 0)
        if SPEED in row and row[SPEED] > 0:  # the clock also runs while a run is interrupted
            seconds += steps / row[SPEED]
        elif last is not None:
            seconds += row.get("time", 0.0) - last.get("time", 0.0)
        last = row
        if name in row and math.isfinite(row[name]):
            points.append((each * row["step"], seconds, float(row[name])))
    finished = last is not None and outcome.seconds and outcome.steps == last["step"] and seconds > 0
    scale = outcome.seconds / seconds if finished and outcome.seconds else 1.0  # scores and pictures take time, too
    images, times, values = zip(*points, strict=True) if points else ((), (), ())
    return Curve(outcome, images, tuple(scale * time for time in times), values)
