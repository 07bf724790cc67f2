"""Signs of failing training. `guard` reacts to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganlib.evaluation.measures.shortcuts import MEANINGS
from ganlib.training.rows import ACCURACY, LOSS, NEAREST, SHORTCUTS, VARIANCE

if TYPE_CHECKING:
    from ganlib.training.config import HealthConfig, Problem
    from ganlib.training.state import TrainState


class TrainingDiverged(RuntimeError):  # noqa: N818  # the field's word for this state of a training
    """Training cannot continue. The message says what happened, when, and what to try."""


ADVICE: dict[Problem, str] = {
    "returned_input": "a higher training.generator_optimizer.learning_rate, or less weight of terms that keep an image "
    "as it is, such as task.identity_weight and task.cycle_weight",
    "painted_mean": "more task.adversarial_weight, model.discriminator_norm=spectral, or other learning rates",
}


@dataclass(frozen=True)
class Finding:
    """A problem of the training.

    Attributes:
        problem: Its kind, which is the name of the reaction in `HealthConfig`.
        text: What was measured, and what to try.
    """

    problem: Problem
    text: str


def non_finite_terms(row: Mapping[str, float]) -> list[str]:
    """Returns the names of values that are not finite."""
    return sorted(name for name, value in row.items() if not math.isfinite(value))


def non_finite(broken: list[str], *, first_step: int, last_step: int) -> Finding:
    """Returns the finding that terms became infinite or NaN between two steps."""
    return Finding(
        "non_finite",
        f"{', '.join(broken)} became infinite or NaN somewhere within steps [{first_step}, {last_step}]. Try a "
        "lower training.*_optimizer.learning_rate, or training.precision=float32",
    )


def saturated(row: Mapping[str, float], state: TrainState, config: HealthConfig, *, steps: int) -> Finding | None:
    """Checks a row, `steps` steps after the one before, for a discriminator that teaches the generator nothing."""
    too_good = row[ACCURACY] >= config.saturation_accuracy and 0.0 <= row[LOSS] < config.saturation_loss
    if not _persists(state, config, "saturated", too_good, by=steps, limit=config.saturation_steps):
        return None
    return Finding(
        "saturated",
        f"the discriminator classified {row[ACCURACY]:.1%} of the images correctly, with loss {row[LOSS]:.4f}, for "
        f"{config.saturation_steps} steps. Try a penalty (objective.r1, objective=wgan_gp), "
        "model.discriminator_norm=spectral, or a lower training.discriminator_optimizer.learning_rate",
    )


def collapsed(row: Mapping[str, float], state: TrainState, config: HealthConfig) -> Finding | None:
    """Checks the samples of a score for lack of variance, and for near duplicates."""
    alike = row[VARIANCE] < config.min_variance_ratio or row[NEAREST] < config.min_distance_ratio
    state.health.diverse = state.health.diverse or not alike
    if not state.health.diverse and state.clock.scores <= config.warmup_scores:
        return None
    if not _persists(state, config, "collapsed", alike, limit=config.collapse_scores):
        return None
    return Finding(
        "collapsed",
        f"the variance of the samples' features is {row[VARIANCE]:.3f} times that of real images, and the distance "
        f"to the nearest other sample {row[NEAREST]:.3f} times. Try lower learning rates, objective=relativistic or "
        "wgan_gp, or model.discriminator_norm=spectral",
    )


def shortcuts(row: Mapping[str, float], state: TrainState, config: HealthConfig) -> list[Finding]:
    """Checks the samples of a score for networks that return their input or paint the mean, each by itself."""
    if state.clock.scores <= config.warmup_scores:
        return []
    findings = []
    for problem, advice in ADVICE.items():
        for name in [name for name in row if name.startswith(SHORTCUTS) and name.endswith(problem)]:
            network = name.removeprefix(SHORTCUTS).removesuffix(problem).rstrip("/")
            present = row[name] > config.max_shortcut_share
            if _persists(state, config, problem, present, limit=config.collapse_scores, network=network):
                where = f"{network}: " if network else ""
                text = f"{where}{row[name]:.0%} of the samples are {MEANINGS[problem]}. Try {advice}"
                findings.append(Finding(problem, text))
    return findings


def degraded(score: float, state: TrainState, config: HealthConfig) -> Finding | None:
    """Checks a score for a run that got much worse than its best."""
    best = score if state.best.score is None else state.best.score
    if not _persists(state, config, "degraded", score > config.degraded_factor * best, limit=config.degraded_scores):
        return None
    return Finding(
        "degraded",
        f"{config.degraded_scores} scores in a row were above {config.degraded_factor} times the best, {best:.4g} of "
        f"step {state.best.step}; this one is {score:.4g}. Try model.discriminator_norm=spectral or a falling "
        "training.schedule; the best generator is kept",
    )


def plateau(state: TrainState, config: HealthConfig) -> Finding | None:
    """Checks for a run without a better score for long."""
    if not _persists(state, config, "plateau", state.best.step != state.clock.step, limit=config.patience):
        return None
    return Finding(
        "plateau",
        f"no better score than {state.best.score:.4g} of step {state.best.step} in {config.patience} measurements. Try "
        "a decaying training.schedule, or stop early: training.health.plateau=stop",
    )


def _persists(
    state: TrainState,
    config: HealthConfig,
    problem: Problem,
    present: bool,
    *,
    limit: int,
    by: int = 1,
    network: str = "",
) -> bool:
    """Counts how long a sign has lasted. Returns whether it has lasted long enough, once per occurrence.

    It returns so again if the run resumes with another limit or reaction.
    """
    record, settings = state.health, f"{getattr(config, problem)} at {limit}"
    sign = f"{problem} of {network}" if network else problem
    if not present:
        record.signs[sign] = 0
        record.reported.pop(sign, None)
        return False
    record.signs[sign] = record.signs.get(sign, 0) + by
    if record.signs[sign] < limit or record.reported.get(sign) == settings:
        return False
    record.reported[sign] = settings
    return True
