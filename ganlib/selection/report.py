"""The page of a comparison: one HTML file that contains its pictures and loads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ganlib.evaluation.report import page_template
from ganlib.progress import duration, number
from ganlib.selection.early import FEWEST
from ganlib.selection.figures import OTHERS, colours, draw_curves, sheet_url, strips
from ganlib.selection.words import joined, percent

if TYPE_CHECKING:
    from ganlib.selection.comparison import Comparison
    from ganlib.selection.curves import Curve
    from ganlib.selection.early import Early
    from ganlib.selection.outcome import Outcome
    from ganlib.selection.recommendation import Recommendation

TEMPLATE = Path(__file__).with_name("report.html.j2")
MAX_SHEETS = 24  # variants whose samples are shown
SAFE_KEPT, SAFE_CORRELATION = (
    0.95,
    0.5,
)  # share of halvings that keep the best, and least correlation, to be called safe


def write_report(
    comparison: Comparison,
    recommendation: Recommendation,
    curve_name: str,
    curves: Sequence[Curve],
    path: Path,
) -> None:
    """Writes the page."""
    variants = comparison.variants
    palette = colours(variants)
    dots, axis = strips(recommendation.results, comparison.scale, palette)
    ordered = sorted(curves, key=lambda curve: variants.index(curve.outcome.variant))
    known = any(outcome.images and outcome.steps for outcome in comparison.outcomes)
    labels = {"images": "real images shown" if known else "steps", "seconds": "seconds of training"}
    events = [
        (outcome.name, event)
        for variant in variants
        for outcome in comparison.of_variant(variant)
        for event in outcome.events
    ]
    page = page_template(TEMPLATE).render(
        r=recommendation,
        dots=dots,
        axis=axis,
        rows=[_row(comparison, result) for result in recommendation.results],
        palette=palette,
        key=[(name, colour) for name, colour in palette.items() if colour != OTHERS],
        others=sum(colour == OTHERS for colour in palette.values()),
        others_colour=OTHERS,
        score_of_curves=curve_name.rpartition("/")[2],
        curves=[draw_curves(ordered, palette, over=over, label=label) for over, label in labels.items() if curves],
        sheets=_sheets(comparison),
        sheets_left=max(0, len(variants) - MAX_SHEETS),
        events=events,
        costs=[(variant, _cost(comparison.of_variant(variant))) for variant in variants],
        early=[_early(one) for one in recommendation.early],
        check=_check(recommendation),
    )
    path.write_text(page, encoding="utf-8")


def _row(comparison: Comparison, result: Any) -> dict[str, Any]:
    """Returns the texts of a row of the table of scores."""
    outcomes = comparison.of_variant(result.variant)
    scores = [score.text for outcome in outcomes if (score := comparison.score(outcome)) is not None]
    return {
        "variant": result.variant,
        "changes": [f"{name}={_value(value)}" for name, value in outcomes[0].changes.items()],
        "probability": "" if result.probability is None else percent(result.probability),
        "mean": "" if result.mean is None else number(result.mean),
        "interval": "" if result.low is None else f"{number(result.low)} to {number(result.high)}",
        "scores": scores,
        "failures": result.failures,
        "stopped": all(outcome.halving for outcome in outcomes),
    }


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _sheets(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Returns title, variant and picture of the best seed of each variant, or of the first where all failed."""
    sheets = []
    for variant in comparison.variants[:MAX_SHEETS]:
        outcomes = comparison.of_variant(variant)
        finished = any(not outcome.failure for outcome in outcomes)
        shown = comparison.best_seed(variant) if finished else outcomes[0]
        if shown.samples is not None:
            score = comparison.score(shown)
            sheets.append((f"{shown.name}: {score.text if score else 'failed'}", variant, sheet_url(shown.samples)))
    return sheets


def _cost(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns the cells of a row of the table of costs."""
    finished = [outcome for outcome in outcomes if not outcome.failure]
    seconds = [outcome.seconds for outcome in finished if outcome.seconds is not None]
    rates = [one.images / one.seconds for one in finished if one.images and one.seconds]
    ends = f" ({duration(min(seconds))} to {duration(max(seconds))})" if len(seconds) > 1 else ""
    parameters = {outcome.parameters for outcome in outcomes if outcome.parameters is not None}
    steps = {outcome.steps for outcome in finished if outcome.steps is not None}
    best = [outcome.best_step for outcome in finished if outcome.best_step is not None]
    return [
        f"{duration(fmean(seconds))}{ends}" if seconds else "",
        number(fmean(rates)) if rates else "",
        joined([f"{value:,}" for value in sorted(steps)]) if steps else "",
        joined([f"{value:,}" for value in best]) if best else "",
        joined([f"{value:,}" for value in sorted(parameters)]) if parameters else "",
    ]


def _early(early: Early) -> dict[str, str]:
    """Returns the sentences about one part of the budget."""
    part = f"At {percent(early.fraction)} of the budget"
    if early.correlation is None:
        text = f"{part}: {early.candidates} candidates have a score there; {FEWEST} that differ are needed."
        return {"text": text, "verdict": "Not known."}
    text = (
        f"{part}, the rank correlation of the best score so far with the final one is {early.correlation:.2f} "
        f"(95 % interval {early.low:.2f} to {early.high:.2f}, {early.candidates} candidates)."
    )
    if early.kept is None or early.chance is None:
        return {"text": text, "verdict": ""}
    text += (
        f" A halving there, with one seed of each variant, would have kept the final best in "
        f"{100 * early.kept:.0f} % of draws; by chance in {100 * early.chance:.0f} %."
    )
    if early.kept < SAFE_KEPT:
        return {"text": text, "verdict": "It would not have been safe."}
    safe = (early.low or 0.0) >= SAFE_CORRELATION
    return {"text": text, "verdict": "It would have been safe." if safe else "The candidates are too few to be sure."}


def _check(recommendation: Recommendation) -> dict[str, str] | None:
    """Returns the texts about the scores of fresh samples."""
    check = recommendation.check
    if check is None:
        return None
    texts = {
        name: number(value) if error is None else f"{number(value)} ± {number(error)}"
        for name, value, error in (
            ("chosen", check.chosen, check.chosen_error),
            ("fresh", check.fresh, check.fresh_error),
        )
    }
    worse = (check.fresh > check.chosen) == recommendation.lower_is_better and check.fresh != check.chosen
    return {**texts, "word": "worse" if worse else "no worse"}
