"""All candidates together: which finished, how they were scored, and their ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ganlib.evaluation import Evaluation, Score, compare
from ganlib.selection.halving import Halving
from ganlib.selection.outcome import Outcome
from ganlib.selection.ranking import Ranking, rank
from ganlib.selection.scale import Scale

SAME_COST = 1.1  # least ratio of seconds up to which two variants cost the same


@dataclass(frozen=True)
class Comparison:
    """Candidates that were scored in the same way.

    Attributes:
        outcomes: The candidates.
        evaluations: The scores of those that finished, by variant and seed.
        measure: Name of the score to rank by.
        scale: Which direction is better.
        ranking: Of the variants without a failed seed or, if there is none, of those with a finished seed.
    """

    outcomes: tuple[Outcome, ...]
    evaluations: Mapping[tuple[str, int], Evaluation]
    measure: str
    scale: Scale
    ranking: Ranking

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Comparison:
        """Opens the scores, checks that they can be compared, and ranks the variants.

        Raises:
            ValueError: There are no candidates, one is there twice, a variant has two settings, all failed, or the
                scores were measured in different ways.
        """
        _check_names(outcomes)
        finished = [outcome for outcome in outcomes if not outcome.failure]
        if not finished:
            raise ValueError(f"expected a candidate that finished. Received: {list_failures(outcomes)}")
        evaluations = {(outcome.variant, outcome.seed): outcome.evaluation for outcome in finished}
        _check_protocols(finished, evaluations)
        measure = finished[0].measure or ""
        scores = {key: find_score(measure, evaluation) for key, evaluation in evaluations.items()}
        scale = Scale.of(list(scores.values()))
        failed = {outcome.variant for outcome in outcomes if outcome.failure}
        some = {variant for variant, _ in scores}
        ranked: dict[str, list[float]] = {}
        for (variant, _), score in scores.items():
            if variant in (some - failed or some):
                ranked.setdefault(variant, []).append(score.value)
        return cls(tuple(outcomes), evaluations, measure, scale, rank(ranked, scale))

    @property
    def variants(self) -> list[str]:
        """Names of the variants: those of the ranking, then the others."""
        return list(dict.fromkeys([*self.ranking.order, *(outcome.variant for outcome in self.outcomes)]))

    def of_variant(self, variant: str) -> list[Outcome]:
        """Returns the candidates of a variant, by seed."""
        return sorted((one for one in self.outcomes if one.variant == variant), key=lambda one: one.seed)

    def score(self, outcome: Outcome) -> Score | None:
        """Returns the score of a candidate; None if it failed."""
        evaluation = self.evaluations.get((outcome.variant, outcome.seed))
        return find_score(self.measure, evaluation) if evaluation else None

    def best_seed(self, variant: str) -> Outcome:
        """Returns the candidate of a variant with the best score."""
        finished = [one for one in self.of_variant(variant) if not one.failure]
        return min(finished, key=lambda one: self.loss(one))

    def loss(self, outcome: Outcome) -> float:
        """Returns the score of a finished candidate as a loss, lower for better ones."""
        evaluation = self.evaluations[outcome.variant, outcome.seed]
        return float(self.scale.losses(evaluation.values[self.measure]))

    def seconds(self, variant: str) -> float | None:
        """Returns the mean seconds of training of a variant; None if they are unknown for a finished seed."""
        known = [one.seconds for one in self.of_variant(variant) if not one.failure]
        return fmean(value for value in known if value is not None) if known and None not in known else None

    @property
    def halving(self) -> Halving | None:
        """The halving that stopped variants, if there was one."""
        return next((one.halving for one in self.outcomes if one.halving), None)

    @property
    def same_cost(self) -> float:
        """Ratio of seconds up to which two variants cost the same.

        Seeds of one variant make the same updates. So where a step of one takes longer, the machine did other work, or
        was another one, and a ratio between variants that is no larger may come from that, too.
        """
        ratios = [SAME_COST]
        for variant in self.variants:
            paces = [one.seconds / one.steps for one in self.of_variant(variant) if one.seconds and one.steps]
            ratios += [max(paces) / min(paces)] if paces else []
        return max(ratios)

    def cheapest(self, variants: Sequence[str]) -> str:
        """Returns the variant that trains fastest; of those that cost the same, the one with the best mean.

        If the seconds of one are unknown, all count as costing the same.
        """
        seconds = {variant: self.seconds(variant) for variant in variants}
        known = {variant: value for variant, value in seconds.items() if value is not None}
        alike = [
            variant
            for variant in variants
            if len(known) < len(seconds) or known[variant] <= self.same_cost * min(known.values())
        ]
        return min(alike, key=self.ranking.order.index)


def _check_names(outcomes: Sequence[Outcome]) -> None:
    if not outcomes:
        raise ValueError("expected candidates to compare. Received: outcomes=[]")
    seen: dict[tuple[str, int], Outcome] = {}
    changes: dict[str, Outcome] = {}
    for outcome in outcomes:
        key = outcome.variant, outcome.seed
        if key in seen:
            raise ValueError(
                f"expected each seed of a variant once. Received: {outcome.name}, in folders "
                f"{str(seen[key].folder)!r} and {str(outcome.folder)!r}"
            )
        seen[key] = outcome
        first = changes.setdefault(outcome.variant, outcome)
        if first.changes != outcome.changes:
            raise ValueError(
                f"expected the same settings for all seeds of {outcome.variant}. Received: seed {first.seed}: "
                f"{first.changes}; seed {outcome.seed}: {outcome.changes}"
            )


def _check_protocols(finished: Sequence[Outcome], evaluations: Mapping[tuple[str, int], Evaluation]) -> None:
    first, *others = finished
    for other in others:
        pair = f"{first.name} and {other.name}"
        if first.measure != other.measure:
            raise ValueError(
                f"expected one score to rank by. Received: {pair}: measure={first.measure!r} and {other.measure!r}"
            )
        try:
            compare(evaluations[first.variant, first.seed], evaluations[other.variant, other.seed])
        except ValueError as error:
            raise ValueError(f"{pair}: {error}") from error


def find_score(measure: str, evaluation: Evaluation) -> Score:
    """Returns the score of a measure.

    Raises:
        ValueError: There is none.
    """
    found = next((score for score in evaluation.scores if score.name == measure), None)
    if found is None:
        known = ", ".join(evaluation.values)
        raise ValueError(f"expected one of {known}. Received: measure={measure!r}, folder={str(evaluation.folder)!r}")
    return found


def list_failures(outcomes: Sequence[Outcome]) -> str:
    """Returns why candidates failed, each reason once."""
    names: dict[str, list[str]] = {}
    for outcome in outcomes:
        names.setdefault(outcome.failure, []).append(outcome.name)
    more = {failure: f" and {len(found) - 1} more" if found[1:] else "" for failure, found in names.items()}
    return "; ".join(f"{found[0]}{more[failure]}: {failure}" for failure, found in names.items())
