"""The check of a model against the champion, with the errors of both scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ganlib.evaluation import compare
from ganlib.selection.verdict import Reason

if TYPE_CHECKING:
    from ganlib.evaluation import Evaluation, Score
    from ganlib.selection.contenders import Challenger, Champion
    from ganlib.selection.thresholds import GateConfig

NAME = "comparison with the champion"


def main_scores(evaluation: Evaluation) -> list[Score]:
    """Returns the main score of each network, a distance: lower is better."""
    first: dict[str, Score] = {}
    for score in evaluation.scores:
        first.setdefault(score.name.rpartition("/")[0], score)
    return list(first.values())


def against_champion(challenger: Challenger, champion: Champion | None, config: GateConfig) -> Reason:
    """Compares the main scores of a model with those of the champion; all networks of a task have to pass."""
    if champion is None:
        if config.champion is None:
            return Reason(NAME, "not checked", "there is no champion", "set export.gate.champion for later versions")
        return Reason(NAME, "not checked", "there is no champion: this would be the first version", _asked(config))
    if config.champion is None:
        measured = f"version {champion.version} is the champion"
        return Reason(NAME, "not checked", measured, "set export.gate.champion")
    if champion.evaluation is None:
        return Reason(NAME, "failed", f"version {champion.version}: {champion.how}", _asked(config))
    try:
        compared = compare(challenger.evaluation, champion.evaluation)
    except ValueError as error:
        return Reason(NAME, "failed", f"version {champion.version} has another protocol: {error}", _asked(config))
    names = [score.name for score in main_scores(challenger.evaluation)]
    if missing := [name for name in names if name not in compared]:
        measured = f"version {champion.version} has no score {', '.join(missing)}"
        return Reason(NAME, "failed", measured, _asked(config))
    results = [_compare(*compared[name], config) for name in names]
    passed = all(good for good, _ in results)
    measured = f"version {champion.version} ({champion.how}): {'; '.join(text for _, text in results)}"
    return Reason(NAME, "passed" if passed else "failed", measured, _asked(config))


def _compare(new: Score, old: Score, config: GateConfig) -> tuple[bool, str]:
    """Returns whether a score is good enough beside the champion's, and the numbers as text."""
    if new.error is None or old.error is None:
        return False, f"{new.name} {new.text} against {old.text}, whose errors are not known: too few images"
    error = config.standard_errors * math.hypot(new.error, old.error)
    difference = new.value - old.value
    margin = _margin(old, config)
    good = difference < -error if config.champion == "better" else difference + error <= margin
    how = "better" if difference < 0 else "worse"
    within = "within" if abs(difference) <= error else "beyond"
    text = (
        f"{new.name} {new.text} against {old.text}: {how} by {abs(difference):.4g}, {within} the combined error of "
        f"{error:.2g}"
    )
    return good, text + (f", margin {margin:.4g}" if config.champion == "not_worse" else "")


def _margin(old: Score, config: GateConfig) -> float:
    if config.relative_margin is not None:
        return config.relative_margin * abs(old.value)
    return config.margin or 0.0


def _asked(config: GateConfig) -> str:
    errors = f"{config.standard_errors:g} times the combined standard error"
    if config.champion == "better":
        return f"better by more than {errors}: export.gate.champion=better"
    margin = f"relative_margin={config.relative_margin:g}" if config.relative_margin is not None else ""
    margin = margin or f"margin={config.margin or 0.0:g}"
    return f"with {errors} added, not worse by more than the margin: export.gate.champion=not_worse, {margin}"
