"""The full comparison before a halving, which says what early scores are worth."""

from __future__ import annotations

from pathlib import Path

from ganlib.evaluation import Evaluation
from ganlib.selection.halving import Halving
from ganlib.selection.recommendation import Recommendation


def read_former(folder: Path) -> Halving:
    """Returns the halving that a finished comparison allows: after the least part of the budget that was enough.

    Args:
        folder: Its folder, with `recommendation` and `scores`.

    Raises:
        ValueError: It is no finished comparison, or its early scores did not tell the final ones.
    """
    recommendation, scores = Recommendation.open(folder / "recommendation"), Evaluation.open(folder / "scores")
    own = {"former": folder.resolve().name, "data": scores.protocol["dataset_sha256"]}
    known = [
        Halving.model_validate(one.model_dump(exclude={"chance"}) | own)
        for one in recommendation.early
        if one.correlation is not None
    ]
    if not known:
        raise ValueError(
            "expected a full comparison in which early and final scores were compared. "
            f"Received: halving={str(folder)!r}, which has none"
        )
    allowed = [one for one in known if one.low > 0.0]
    if not allowed:
        raise ValueError(
            "expected early scores that tell the final ones: a rank correlation that is clearly above zero. Received: "
            f"halving={str(folder)!r}, {'; '.join(one.text for one in known)}"
        )
    return allowed[0]
