"""The gate: whether a model may be promoted. Pure functions over what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.selection.champion import against_champion
from ganlib.selection.checks import CHECKS
from ganlib.selection.verdict import Verdict

if TYPE_CHECKING:
    from ganlib.selection.contenders import Challenger, Champion
    from ganlib.selection.thresholds import GateConfig
    from ganlib.selection.verdict import Decision, Reason

ORDER = ("failed", "passed", "not checked")
NO_THRESHOLD = "REFUSED: export.gate has no threshold, so nothing was checked. Set some, or promote it by hand"


def judge(challenger: Challenger, champion: Champion | None, config: GateConfig) -> Verdict:
    """Decides whether a model may be promoted.

    Args:
        challenger: The model.
        champion: The model that it would replace; None for a first version, which only absolute thresholds decide on.
        config: The thresholds.

    Returns:
        The decision with the reason of each check. A threshold for something that was not measured refuses the model.
    """
    reasons = [against_champion(challenger, champion, config)]
    reasons += [reason for check in CHECKS for reason in check(challenger, config)]
    reasons.sort(key=lambda reason: ORDER.index(reason.result))
    decision, summary = _decide(reasons, champion, config)
    return Verdict(
        decision=decision,
        summary=summary,
        reasons=tuple(reasons),
        model=dict(challenger.model),
        champion=None if champion is None else champion.version,
        gate=config.to_parameter(),
        notes=() if champion is None else champion.notes,
    )


def _decide(reasons: list[Reason], champion: Champion | None, config: GateConfig) -> tuple[Decision, str]:
    failed = [reason.check for reason in reasons if reason.result == "failed"]
    passed = sum(reason.result == "passed" for reason in reasons)
    if failed:
        return "refuse", f"REFUSED, because of {', '.join(failed)}"
    if passed:
        first = "" if champion else "; there is no champion to compare with, so the absolute thresholds decided alone"
        return "promote", f"PASSED {passed} of {passed} checks{first}"
    if config.champion and champion is None:
        return "refuse", (
            "REFUSED: there is no champion to compare with, and export.gate has no absolute threshold, such as "
            "export.gate.max_floor_ratio, so nothing was checked"
        )
    return "refuse", NO_THRESHOLD
