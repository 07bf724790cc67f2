"""Signs that training has failed, and the thresholds that tell them. What is done about them stands in `guard`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganlib.training.rows import ACCURACY, LOSS, NEAREST, VARIANCE

if TYPE_CHECKING:
    from ganlib.training.config import HealthConfig, Problem
    from ganlib.training.state import TrainState


class TrainingDiverged(RuntimeError):  # noqa: N818  # names a state of the training, as the field speaks of it
    """Training cannot go on: the message says what happened, when, and what to try."""


@dataclass(frozen=True)
class Finding:
    """A problem that was found.

    Attributes:
        problem: Which one; the name of its reaction in `HealthConfig`.
        text: What was measured, and what to try.
    """

    problem: Problem
    text: str


def broken_terms(row: Mapping[str, float]) -> list[str]:
    """Returns the names of values that are not finite."""
    return sorted(name for name, value in row.items() if not math.isfinite(value))


def non_finite(broken: list[str], *, first_step: int, last_step: int) -> Finding:
    """Returns the finding that terms became infinite or NaN within these steps."""
    return Finding(
        "non_finite",
        f"{', '.join(broken)} became infinite or NaN somewhere within steps [{first_step}, {last_step}]. Try a "
        "lower training.*_optimizer.learning_rate, or training.precision=float32",
    )


def saturated(row: Mapping[str, float], state: TrainState, config: HealthConfig, *, steps: int) -> Finding | None:
    """Looks at a stretch of `steps` steps for a discriminator from which the generator can learn nothing."""
    sure = row[ACCURACY] >= config.saturation_accuracy and 0.0 <= row[LOSS] < config.saturation_loss
    if not _lasting(state, config, "saturated", sure, by=steps, limit=config.saturation_steps):
        return None
    return Finding(
        "saturated",
        f"the discriminator told {row[ACCURACY]:.1%} of the images rightly, its loss {row[LOSS]:.4f}, over "
        f"{config.saturation_steps} steps. Try a penalty (objective.r1, objective=wgan_gp), "
        "model.discriminator_norm=spectral, or a lower training.discriminator_optimizer.learning_rate",
    )


def collapsed(row: Mapping[str, float], state: TrainState, config: HealthConfig) -> Finding | None:
    """Looks at a measurement for samples without variance, or with many near duplicates."""
    alike = row[VARIANCE] < config.min_variance_ratio or row[NEAREST] < config.min_distance_ratio
    state.health.diverse = state.health.diverse or not alike
    if not state.health.diverse and state.clock.scores <= config.warmup_scores:
        return None
    if not _lasting(state, config, "collapsed", alike, limit=config.collapse_scores):
        return None
    return Finding(
        "collapsed",
        f"the samples' features vary by {row[VARIANCE]:.3f} of what real images' do, and the nearest other sample is "
        f"at {row[NEAREST]:.3f} of the distance of real images. Try lower learning rates, objective=relativistic or "
        "wgan_gp, or model.discriminator_norm=spectral",
    )


def degraded(score: float, state: TrainState, config: HealthConfig) -> Finding | None:
    """Looks at a score for a run that leaves its best behind."""
    best = score if state.best.score is None else state.best.score
    if not _lasting(state, config, "degraded", score > config.degraded_factor * best, limit=config.degraded_scores):
        return None
    return Finding(
        "degraded",
        f"{config.degraded_scores} scores in a row were above {config.degraded_factor} times the best, {best:.4g} of "
        f"step {state.best.step}; this one is {score:.4g}. Try model.discriminator_norm=spectral or a falling "
        "training.schedule; the best generator is kept",
    )


def plateau(state: TrainState, config: HealthConfig) -> Finding | None:
    """Looks for a run that has been without a better score for long."""
    if not _lasting(state, config, "plateau", state.best.step != state.clock.step, limit=config.patience):
        return None
    return Finding(
        "plateau",
        f"no better score than {state.best.score:.4g} of step {state.best.step} in {config.patience} measurements. Try "
        "a falling training.schedule, or end here: training.health.plateau=stop",
    )


def _lasting(
    state: TrainState, config: HealthConfig, problem: Problem, present: bool, *, limit: int, by: int = 1
) -> bool:
    """Counts how long a sign has lasted; says whether it has lasted long enough, once for each time it lasts.

    It says so again where the run goes on with another limit or another reaction.
    """
    record, settings = state.health, f"{getattr(config, problem)} at {limit}"
    if not present:
        record.signs[problem] = 0
        record.told.pop(problem, None)
        return False
    record.signs[problem] = record.signs.get(problem, 0) + by
    if record.signs[problem] < limit or record.told.get(problem) == settings:
        return False
    record.told[problem] = settings
    return True
