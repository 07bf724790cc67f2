"""The verb `recommend`: ranks candidates, and writes the recommendation with the page that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ganlib import storage
from ganlib.evaluation import Evaluation, compare
from ganlib.selection.comparison import Comparison, find_score
from ganlib.selection.curves import Curve, read_curves
from ganlib.selection.early import early_against_late
from ganlib.selection.outcome import Outcome
from ganlib.selection.recommendation import FACTS, REPORT, Check, Recommendation, Result
from ganlib.selection.report import write_report
from ganlib.selection.words import Verdict, answer, inequalities, reasons


def recommend(outcomes: Sequence[Outcome], *, output: Path, check: Evaluation | None = None) -> Recommendation:
    """Recommends a variant, and writes the recommendation and its report.

    Once the recommended model is scored again with other samples, call it once more with these scores: the best of
    several scores is too good by luck, and the report then shows both.

    Args:
        outcomes: The candidates, opened: several variants, several seeds of each.
        output: Folder to create; it is written atomically.
        check: Scores of the recommended model with another `evaluation.seed`.

    Returns:
        The recommendation in `output`.

    Raises:
        ValueError: The candidates cannot be compared, all of them failed, or `check` is of another model, protocol or
            of the samples that were chosen by.
    """
    comparison = Comparison.of(outcomes)
    curve_name, curves = read_curves(comparison.outcomes)
    recommendation = _recommendation(comparison, curves, check)
    with storage.atomic_folder(output) as folder:
        storage.write_json(folder / FACTS, recommendation.to_parameter())
        write_report(comparison, recommendation, curve_name, curves, folder / REPORT)
    return Recommendation.open(output)


def _recommendation(comparison: Comparison, curves: Sequence[Curve], check: Evaluation | None) -> Recommendation:
    ranking, verdict = comparison.ranking, _verdict(comparison)
    shipped = _shipped(comparison)
    chosen = shipped.variant
    finished = [outcome for outcome in comparison.outcomes if not outcome.failure]
    final = {(outcome.variant, outcome.seed): comparison.loss(outcome) for outcome in finished}
    return Recommendation(
        variant=chosen,
        seed=shipped.seed,
        trained=shipped.trained,
        mlflow_run_id=shipped.mlflow_run_id,
        measure=comparison.measure,
        lower_is_better=comparison.scale.lower,
        verdict=verdict,
        contenders=ranking.contenders,
        probability=ranking.of(chosen).probability,
        separated=ranking.separated,
        answer=answer(comparison, verdict, chosen),
        reasons=tuple(reasons(comparison, verdict, chosen)),
        unequal=tuple(inequalities(comparison)),
        results=tuple(_result(comparison, variant) for variant in comparison.variants),
        early=() if comparison.halving else tuple(early_against_late(curves, final)),
        halving=comparison.halving,
        check=_check(comparison, shipped, check) if check else None,
    )


def choose(outcomes: Sequence[Outcome]) -> Outcome:
    """Returns the candidate whose model is to be shipped: the best seed of the recommended variant.

    Raises:
        ValueError: The candidates cannot be compared, or all of them failed.
    """
    return _shipped(Comparison.of(outcomes))


def _shipped(comparison: Comparison) -> Outcome:
    ranking = comparison.ranking
    tie = _verdict(comparison) == "tie"
    return comparison.best_seed(comparison.cheapest(ranking.contenders) if tie else ranking.order[0])


def _verdict(comparison: Comparison) -> Verdict:
    if len(comparison.ranking.standings) == 1:
        return "single"
    if not comparison.ranking.contenders:
        return "unknown"
    return "clear" if len(comparison.ranking.contenders) == 1 else "tie"


def _result(comparison: Comparison, variant: str) -> Result:
    outcomes = comparison.of_variant(variant)
    finished = [outcome for outcome in outcomes if not outcome.failure]
    ranked = variant in comparison.ranking.order
    standing = comparison.ranking.of(variant) if ranked else None
    return Result(
        variant=variant,
        seeds=tuple(outcome.seed for outcome in finished),
        scores=tuple(score.value for outcome in finished if (score := comparison.score(outcome)) is not None),
        mean=standing.mean if standing else None,
        low=standing.low if standing else None,
        high=standing.high if standing else None,
        probability=standing.probability if standing else None,
        seconds=comparison.seconds(variant),
        failures=tuple(f"seed {outcome.seed}: {outcome.failure}" for outcome in outcomes if outcome.failure),
    )


def _check(comparison: Comparison, shipped: Outcome, fresh: Evaluation) -> Check:
    chosen = comparison.evaluations[shipped.variant, shipped.seed]
    compare(chosen, fresh)
    if chosen.generator and fresh.generator and chosen.generator["sha256"] != fresh.generator["sha256"]:
        raise ValueError(
            f"expected scores of the recommended model, {shipped.name} ({chosen.generator['sha256'][:8]}). "
            f"Received: generator={fresh.generator['sha256'][:8]!r}"
        )
    seeds = [evaluation.protocol.get("seed") for evaluation in (chosen, fresh)]
    if seeds[0] == seeds[1]:
        raise ValueError(f"expected samples of another evaluation.seed than {seeds[0]}. Received: seed={seeds[1]}")
    before, after = (find_score(comparison.measure, evaluation) for evaluation in (chosen, fresh))
    return Check(chosen=before.value, chosen_error=before.error, fresh=after.value, fresh_error=after.error)
