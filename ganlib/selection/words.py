"""The recommendation in words: the answer, its reasons, and what was not equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from ganlib.progress import duration, number
from ganlib.selection.comparison import SAME_COST
from ganlib.selection.ranking import CONFIDENCE, SURE, Standing

if TYPE_CHECKING:
    from ganlib.selection.comparison import Comparison
    from ganlib.selection.outcome import Outcome

Verdict = Literal["clear", "tie", "unknown", "single"]
SHOWN = 4  # names in a sentence
CLOSE = 0.01  # relative difference up to which images and steps count as equal
LARGE_SHARE = 0.5  # of the spread between seeds that samples make, from which more samples help
AT_THE_END = 0.5  # share of candidates that still improved, from which the budget was short


def percent(probability: float) -> str:
    """Returns a probability for people, which is never certain."""
    if probability > 0.995:
        return "more than 99 %"
    return "less than 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"


def joined(names: Sequence[str], *, last: str = "and") -> str:
    """Returns names as people list them, the first few of many."""
    if len(names) > SHOWN + 1:
        names = [*names[:SHOWN], f"{len(names) - SHOWN} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def typical(standing: Standing) -> str:
    """Returns the mean score with its interval, if there is one."""
    mean = number(standing.mean)
    return mean if standing.low is None else f"{mean} ({number(standing.low)} to {number(standing.high or 0.0)})"


def answer(comparison: Comparison, verdict: Verdict, chosen: str) -> str:
    """Returns the answer to "which one?"."""
    said = _answer(comparison, verdict, chosen)
    stopped = list(dict.fromkeys(one.variant for one in comparison.outcomes if one.halving))
    if comparison.halving is None:
        return said
    part = f"{100 * comparison.halving.part:.0f} % of the budget"
    return f"A halving, not a comparison at an equal budget: after {part}, {joined(stopped)} stopped. {said}"


def _answer(comparison: Comparison, verdict: Verdict, chosen: str) -> str:
    ranking = comparison.ranking
    count = len(ranking.standings)
    if verdict == "single":
        return f"{chosen} is the only variant to choose from, so there is nothing to choose."
    if verdict == "unknown":
        return (
            f"Not known. {chosen} has the best score, but with one seed each nothing is known about how much seeds "
            "differ. Train two seeds or more of each variant."
        )
    if verdict == "clear":
        chance = percent(ranking.of(chosen).probability or 0.0)
        return f"Take {chosen}. It is the best of {count} variants with a probability of {chance}."
    contenders = ranking.contenders
    chances = [f"{name} ({percent(ranking.of(name).probability or 0.0)})" for name in contenders]
    return f"A tie. The best of {count} variants is one of {joined(chances, last='or')}. {_cheaper(comparison, chosen)}"


def _cheaper(comparison: Comparison, chosen: str) -> str:
    """Returns why one of several contenders is chosen."""
    contenders = comparison.ranking.contenders
    seconds = {name: comparison.seconds(name) for name in contenders}
    if None in seconds.values():
        return f"Take {chosen}, which has the best mean of them. Which is cheapest is not known."
    mine, slowest = seconds[chosen] or 0.0, max(value or 0.0 for value in seconds.values())
    leader = min(contenders, key=comparison.ranking.order.index)
    if slowest <= comparison.same_cost * mine:
        return (
            f"Take {chosen}, which has the best mean of them: they cost about the same, {duration(mine)} of training."
        )
    if leader == chosen:
        return f"Take {chosen}, which has the best mean and is no more expensive than the others: {duration(mine)}."
    return (
        f"Take {chosen}, the cheapest of them: {duration(mine)} of training instead of "
        f"{duration(seconds[leader] or 0.0)} for {leader}, which has the best mean."
    )


def reasons(comparison: Comparison, verdict: Verdict, chosen: str) -> list[str]:
    """Returns the reasons of the answer."""
    ranking, direction = comparison.ranking, "lower" if comparison.scale.lower else "higher"
    kind = "geometric mean" if comparison.scale.log else "mean"
    intervals = "" if ranking.spread is None else f" with {100 * CONFIDENCE:.0f} % intervals of the mean of many seeds"
    listed = [f"{one.variant} {typical(one)}" for one in ranking.standings]
    best = comparison.score(comparison.best_seed(chosen))
    real = "" if best is None or best.floor is None else f" Held-out real images score {number(best.floor)}."
    lines = [f"{comparison.measure}, {direction} is better, {kind} of the seeds{intervals}: {joined(listed)}.{real}"]
    if verdict == "tie":
        lines.append(
            f"No smaller set of variants holds the best one with a probability of {100 * SURE:.0f} %. Further seeds "
            "would tell them apart, or show that they differ little."
        )
    if ranking.separated is not None and ranking.chance is not None and verdict != "unknown":
        first, second = ranking.order[:2]
        every = "Every" if ranking.separated else "Not every"
        lines.append(
            f"{every} seed of {first} beats every seed of {second}. Of two equal variants with as many seeds, one "
            f"would do so by chance in {percent(ranking.chance)} of comparisons."
        )
    lines += _two_errors(comparison) + _halving(comparison) + _improving(comparison)
    return lines + _failures(comparison) + _shipped(comparison, chosen)


def _two_errors(comparison: Comparison) -> list[str]:
    """Returns how much the spread between seeds is, and how much of it draws of samples make."""
    spread = comparison.ranking.spread
    if spread is None:
        return []
    lines = [f"Seeds of one variant vary by {comparison.scale.spread_text(spread)} (standard deviation)."]
    finished = [one for one in comparison.outcomes if not one.failure]
    scores = [score for one in finished if (score := comparison.score(one)) is not None and score.error]
    if scores:
        relative = [(score.error or 0.0) / (score.value if comparison.scale.log else 1.0) for score in scores]
        sampling = math.sqrt(fmean(value**2 for value in relative))
        if sampling**2 > LARGE_SHARE * spread**2:
            advice = ", so most of it may come from the samples: more of them (evaluation.samples) would help."
        else:
            advice = ", which more samples would reduce. Only more seeds reduce the rest."
        lines[0] += (
            f" Scores of other samples of one generator vary by {comparison.scale.spread_text(sampling)}{advice}"
        )
    return lines


def _halving(comparison: Comparison) -> list[str]:
    """Returns what is known of the variants that a halving stopped, and what it saved."""
    halving = comparison.halving
    if halving is None:
        return []
    parts = [1.0 if one.halving is None else one.halving.part for one in comparison.outcomes]
    used = f"This halving used {100 * fmean(parts):.0f} % of the budget of a full comparison."
    return [f"The probabilities leave out that the best variant may have been stopped: {halving.text}. {used}"]


def _failures(comparison: Comparison) -> list[str]:
    failed = [outcome for outcome in comparison.outcomes if outcome.failure and not outcome.halving]
    variants = list(dict.fromkeys(outcome.variant for outcome in failed))
    if not failed:
        return []
    if set(variants) & set(comparison.ranking.order):
        return ["No variant finished with all its seeds, so those that finished with some are ranked by these."]
    some = [name for name in variants if any(not one.failure for one in comparison.of_variant(name))]
    luck = "The seeds that are left are the lucky ones, and the next training may fail, too."
    lines = [f"Not ranked, because a seed failed: {joined(some)}. {luck}"] if some else []
    none = [name for name in variants if name not in some]
    return [*lines, f"Not ranked, because all seeds failed: {joined(none)}."] if none else lines


def _shipped(comparison: Comparison, chosen: str) -> list[str]:
    best, standing = comparison.best_seed(chosen), comparison.ranking.of(chosen)
    if len(standing.scores) == 1:
        return []
    value = comparison.evaluations[best.variant, best.seed].values[comparison.measure]
    shipped = f"The model to ship is seed {best.seed}, with {number(value)} the best of the {len(standing.scores)}"
    return [f"{shipped} of {chosen}. A new training is to be expected at {typical(standing)}."]


def inequalities(comparison: Comparison) -> list[str]:
    """Returns what was not equal, and what else limits the comparison."""
    finished = [outcome for outcome in comparison.outcomes if not outcome.failure]
    lines = [
        f"{title}: {number(low)} to {number(high)}."
        for title, field, tolerance in (
            ("Real images seen", "images", CLOSE),
            ("Steps, each an update of the generator", "steps", CLOSE),
            ("Parameters of the generator", "parameters", CLOSE),
        )
        if (ends := _ends(finished, field, tolerance)) is not None
        for low, high in [ends]
    ]
    times = _ends(finished, "seconds", 0.1)
    if times is not None:
        lines.append(f"Seconds of training: {duration(times[0])} to {duration(times[1])}. {_seconds(comparison)}")
    counts = {variant: len(comparison.of_variant(variant)) for variant in comparison.variants}
    if len(set(counts.values())) > 1:
        lines.append(f"Seeds: {joined([f'{count} of {variant}' for variant, count in counts.items()])}.")
    missing = [name for name in ("images", "seconds") if any(getattr(one, name) is None for one in finished)]
    if missing:
        lines.append(f"Not recorded for every candidate: {joined(missing)}.")
    return lines


def _improving(comparison: Comparison) -> list[str]:
    """Returns that the budget was short, if it was."""
    known = [one for one in comparison.outcomes if not one.failure and one.best_step is not None and one.steps]
    late = [one for one in known if one.best_step == one.steps]
    if not known or len(late) < AT_THE_END * len(known):
        return []
    share = f"{len(late)} of {len(known)} candidates had their best score at the last step"
    return [f"{share}, so they still improved: with a larger budget the order may be another."]


def _seconds(comparison: Comparison) -> str:
    """Returns what seconds are worth as a measure of cost."""
    if comparison.same_cost <= SAME_COST:
        return "They pass on the clock, so other work on the machine counts."
    return (
        "They pass on the clock, so other work on the machine counts: seeds of one variant make the same updates, and "
        f"a step of one took up to {comparison.same_cost:.2g} times as long. Variants that differ by no more count as "
        "costing the same."
    )


def _ends(finished: Sequence[Outcome], field: str, tolerance: float) -> tuple[float, float] | None:
    """Returns the lowest and the highest value of a fact, if they differ by more than a part of the highest."""
    known = [value for one in finished if (value := getattr(one, field)) is not None]
    if not known or max(known) - min(known) <= tolerance * max(known):
        return None
    return min(known), max(known)
