"""The absolute checks of the gate. Each returns its reasons; without a threshold, that it was not made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganlib.evaluation.measures.memorisation import MEASURE, TAIL
from ganlib.selection.champion import main_scores
from ganlib.selection.verdict import Reason, Result

if TYPE_CHECKING:
    from ganlib.evaluation import Score
    from ganlib.selection.contenders import Challenger
    from ganlib.selection.thresholds import GateConfig

    Check = Callable[[Challenger, GateConfig], Sequence[Reason]]

SECTION = "export.gate"
INFINITY = "fd_infinity"
CLASSES_SEEN = "classes_seen"  # the end of the name of a score that only a classifier gives
NOT_MEASURED = "not measured for this model"
MOST_NAMED = 3  # classes or events in a sentence


def check_bounds(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks scores against their largest and smallest values."""
    bounds = [(config.max_scores, "max_scores", "at most"), (config.min_scores, "min_scores", "at least")]
    reasons = []
    for limits, field, words in bounds:
        if not limits:
            reasons.append(_not_checked("bounds of scores", field))
        for name, limit in limits.items():
            asked = f"{words} {limit:g}: {SECTION}.{field}"
            scores = find_scores(challenger.evaluation.scores, name)
            good = [score.value <= limit if field == "max_scores" else score.value >= limit for score in scores]
            measured = ", ".join(f"{score.name} {score.text}" for score in scores)
            if not scores:
                known = ", ".join(score.name for score in challenger.evaluation.scores)
                measured = f"there is no such score; there are {known}"
            reasons.append(Reason(name, _result(bool(scores) and all(good)), measured, asked))
    return reasons


def find_scores(scores: Sequence[Score], name: str) -> list[Score]:
    """Returns the scores of all networks with this name, or else with this measure in any feature space."""
    bases = [(score.name.rpartition("/")[2], score) for score in scores]
    exact = [score for base, score in bases if name in (base, score.name)]
    return exact or [
        score
        for base, score in bases
        if base.startswith(f"{name}_") and (not base.startswith(INFINITY) or name.startswith(INFINITY))
    ]


def check_floor(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks main scores against those of real images: not too far above, and not so far below that it is suspect."""
    reasons = []
    for field, limit, words in (
        ("max_floor_ratio", config.max_floor_ratio, "at most"),
        ("min_floor_ratio", config.min_floor_ratio, "at least"),
    ):
        check = "distance to the floor" if field == "max_floor_ratio" else "score that is too good"
        if limit is None:
            reasons.append(_not_checked(check, field))
            continue
        good, texts = True, []
        for score in main_scores(challenger.evaluation):
            if not score.floor:
                good, text = False, f"{score.name} has no floor"
            else:
                ratio = score.value / score.floor
                good &= ratio <= limit if field == "max_floor_ratio" else ratio >= limit
                text = f"{score.name} {score.text} is {ratio:.3g} times that of real images, {score.floor_text}"
            texts.append(text)
        reasons.append(Reason(check, _result(good), "; ".join(texts), f"{words} {limit:g} times: {SECTION}.{field}"))
    return reasons


def check_memorisation(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks that no more samples are close to a training image than real images are."""
    check, errors = "memorisation", config.memorisation_errors
    if errors is None:
        return [_not_checked(check, "memorisation_errors")]
    asked = f"at most the floor, or {TAIL:g}, plus {errors:g} combined errors: {SECTION}.memorisation_errors"
    scores = find_scores(challenger.evaluation.scores, MEASURE)
    if not scores or any(score.floor is None for score in scores):
        return [Reason(check, "failed", NOT_MEASURED, asked)]
    good, texts = True, []
    for score in scores:
        limit = max(score.floor or 0.0, TAIL) + errors * math.hypot(score.error or 0.0, score.floor_error or 0.0)
        good &= score.value <= limit
        texts.append(f"{score.name} {score.text}, real images {score.floor_text}: limit {limit:.3g}")
    return [Reason(check, _result(good), "; ".join(texts), asked)]


def check_events(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks that training was healthy from the best step on."""
    check = "health of the training"
    if config.events is None:
        return [_not_checked(check, "events")]
    late = [
        f"{event['event']} at step {event['step']} ({event['reaction']})"
        for event in challenger.events
        if event["event"] in config.events and event["step"] >= challenger.best_step
    ]
    since = f"since the best step, {challenger.best_step}"
    measured = f"{_some(late)} {since}" if late else f"no such event {since}"
    return [Reason(check, _result(not late), measured, f"none of {', '.join(config.events)}: {SECTION}.events")]


def check_classes(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks that each class is made often enough, and that requested classes are recognised."""
    return [_check_shares(challenger, config), _check_agreement(challenger, config)]


def _check_shares(challenger: Challenger, config: GateConfig) -> Reason:
    check, limit, rows = "share of each class", config.min_class_ratio, challenger.evaluation.classes
    if limit is None:
        return _not_checked(check, "min_class_ratio")
    asked = f"at least {limit:g} times its share among real images: {SECTION}.min_class_ratio"
    confusion = challenger.evaluation.confusion
    made = [row["count"] for row in rows]
    if confusion is not None:  # where a class was requested, what counts is what the classifier sees
        made = [sum(column) for column in zip(*confusion["counts"], strict=True)]
    elif not any(score.name.endswith(CLASSES_SEEN) for score in challenger.evaluation.scores):
        made = []  # without a classifier, the counts are those of the requests
    real = [row["real"] for row in rows]
    if not sum(made) or not sum(real):
        return Reason(check, "failed", NOT_MEASURED, asked)
    shares = [
        (row["name"], of_made / sum(made), of_real / sum(real))
        for row, of_made, of_real in zip(rows, made, real, strict=True)
        if of_real
    ]
    low = [f"{name} {own:.1%} (real: {share:.1%})" for name, own, share in shares if own < limit * share]
    least = min(shares, key=lambda row: row[1] / row[2])
    measured = _some(low) if low else f"least: {least[0]} {least[1]:.1%} (real: {least[2]:.1%})"
    return Reason(check, _result(not low), measured, asked)


def _check_agreement(challenger: Challenger, config: GateConfig) -> Reason:
    check, limit, confusion = "requested classes", config.min_class_agreement, challenger.evaluation.confusion
    if limit is None:
        return _not_checked(check, "min_class_agreement")
    asked = f"at least {limit:.0%} of each recognised: {SECTION}.min_class_agreement"
    if confusion is None:
        return Reason(check, "failed", NOT_MEASURED, asked)
    shares = {
        name: row[place] / sum(row)
        for place, (name, row) in enumerate(zip(confusion["classes"], confusion["counts"], strict=True))
        if sum(row)
    }
    low = [f"{name} {share:.0%}" for name, share in shares.items() if share < limit]
    least = min(shares, key=shares.__getitem__)
    measured = _some(low) if low else f"least: {least} {shares[least]:.0%}"
    return Reason(check, _result(not low), measured, asked)


def check_shortcuts(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks that a network from images to images does its work."""
    check, limit = "shortcuts", config.max_shortcut_share
    if limit is None:
        return [_not_checked(check, "max_shortcut_share")]
    asked = f"at most {limit:.0%} of the samples: {SECTION}.max_shortcut_share"
    shares = {
        f"{network}: {sign}": share
        for network, signs in challenger.evaluation.shortcuts.items()
        for sign, share in signs.items()
    }
    measured = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    good = bool(shares) and max(shares.values()) <= limit
    return [Reason(check, _result(good), measured or NOT_MEASURED, asked)]


def check_parity(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks that every shipped format gives the images of training."""
    check, limit = "parity", config.max_parity
    if limit is None:
        return [_not_checked(check, "max_parity")]
    asked = f"every format within {limit:g}: {SECTION}.max_parity"
    facts = _flat(challenger.parity)
    differences = {name: float(value) for name, value in facts.items() if not isinstance(value, bool)}
    unproven = [name for name in challenger.formats if not any(key.split(".")[0] == name for key in differences)]
    broken = [name for name, value in facts.items() if value is False]
    far = [name for name, value in differences.items() if not value <= limit]
    texts = [f"{name} {value:.1e}" for name, value in differences.items()]
    texts += [f"{name} does not hold" for name in broken] + [f"{name} was not compared" for name in unproven]
    good = bool(differences) and not (unproven or broken or far)
    return [Reason(check, _result(good), ", ".join(texts) or NOT_MEASURED, asked)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns numbers and conditions by dotted name; texts are left out."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float):
            flat[f"{prefix}{name}"] = value
    return flat


def check_trial(challenger: Challenger, config: GateConfig) -> list[Reason]:
    """Checks that the model has answered in its server."""
    check, trial = "trial in the server", challenger.trial
    if not config.trial:
        return [_not_checked(check, "trial")]
    asked = f"it starts, loads the model and answers: {SECTION}.trial"
    if trial is None:
        return [Reason(check, "failed", "it was not tried", asked)]
    return [Reason(check, _result(bool(trial["passed"])), str(trial.get("reason") or "it answered"), asked)]


CHECKS: tuple[Check, ...] = (
    check_bounds,
    check_floor,
    check_memorisation,
    check_events,
    check_classes,
    check_shortcuts,
    check_parity,
    check_trial,
)


def _result(good: bool) -> Result:
    return "passed" if good else "failed"


def _not_checked(check: str, field: str) -> Reason:
    return Reason(check, "not checked", "", f"set {SECTION}.{field}")


def _some(texts: list[str]) -> str:
    rest = f" and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return ", ".join(texts[:MOST_NAMED]) + rest
