"""Signs that training has failed."""

from __future__ import annotations

import math
from collections.abc import Mapping


class TrainingDiverged(RuntimeError):  # noqa: N818  # names a state of the training, as the field speaks of it
    """Training cannot go on: the message says what happened, when, and what to try."""


def require_finite(terms: Mapping[str, float], *, first_step: int, last_step: int) -> None:
    """Stops the run if any term became infinite or NaN, before anything is saved from that state.

    Raises:
        TrainingDiverged: A term is not finite.
    """
    broken = sorted(name for name, value in terms.items() if not math.isfinite(value))
    if broken:
        raise TrainingDiverged(
            f"{', '.join(broken)} became infinite or NaN somewhere within steps [{first_step}, {last_step}]. Try a "
            "lower training.*_optimizer.learning_rate, or training.precision=float32; the checkpoints before are kept"
        )
