"""The full comparison before a halving, which says what early scores are worth."""

from __future__ import annotations

from pathlib import Path

from ganlib.evaluation import Evaluation
from ganlib.selection.halving import Halving
from ganlib.selection.recommendation import Recommendation

FRACTION = 0.25  # of the budget, after which a halving stops variants


def read_former(folder: Path) -> Halving:
    """Returns the halving that a finished comparison allows.

    Args:
        folder: Its folder, with `recommendation` and `scores`.

    Raises:
        ValueError: It is no finished comparison, or its early scores did not tell the final ones.
    """
    recommendation, scores = Recommendation.open(folder / "recommendation"), Evaluation.open(folder / "scores")
    early = next((one for one in recommendation.early if one.fraction == FRACTION), None)
    part = f"{100 * FRACTION:.0f} % of the budget"
    if early is None or early.correlation is None or early.low is None or early.high is None:
        raise ValueError(
            f"expected a full comparison in which early and final scores were compared at {part}. "
            f"Received: halving={str(folder)!r}, which has none"
        )
    if early.low <= 0.0:
        raise ValueError(
            f"expected early scores that tell the final ones: a rank correlation at {part} that is clearly above zero. "
            f"Received: halving={str(folder)!r}, where it was {early.correlation:.2f} (95 % interval {early.low:.2f} "
            f"to {early.high:.2f}, {early.candidates} candidates)"
        )
    return Halving(
        fraction=early.fraction,
        former=folder.resolve().name,
        candidates=early.candidates,
        correlation=early.correlation,
        low=early.low,
        high=early.high,
        kept=early.kept,
        data=scores.protocol["dataset_sha256"],
    )
