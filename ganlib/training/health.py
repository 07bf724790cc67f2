"""Signs that training has failed, and the thresholds that tell them. What is done about them stands in `guard`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field, model_validator

from ganlib.schema import Config

if TYPE_CHECKING:
    from ganlib.training.state import TrainState

Reaction = Literal["note", "roll_back", "stop", "fail"]
Trouble = Literal["non_finite", "saturated", "collapsed", "worsened", "stalled"]

ACCURACY, LOSS = "discriminator/accuracy", "discriminator/loss"
VARIANCE, NEAREST = "diversity/variance", "diversity/nearest"


class TrainingDiverged(RuntimeError):  # noqa: N818  # names a state of the training, as the field speaks of it
    """Training cannot go on: the message says what happened, when, and what to try."""


class HealthConfig(Config):
    """What counts as trouble, and the reaction to each: note, roll_back, stop or fail.

    A rollback takes the state at the best score back, lowers the learning rates and draws other latents; the count of
    steps goes on. After `max_rollbacks` the next one stops instead, or fails where the terms are not finite. Where it
    would change nothing (the present state is the best one, no state was any better, no step is left) it is noted.
    """

    non_finite: Literal["roll_back", "stop", "fail"] = "roll_back"
    """Reaction to a term or gradient that is infinite or NaN."""
    saturated: Reaction = "note"
    """Reaction to a discriminator that tells all images rightly, its loss near zero, for `saturation_steps`."""
    collapsed: Reaction = "roll_back"
    """Reaction to samples that lost their variance or became alike."""
    worsened: Reaction = "note"
    """Reaction to scores that stay above `worse_than` times the best one."""
    stalled: Reaction = "note"
    """Reaction to no better score within `patience` measurements."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Rollbacks of a run."""
    gentler: float = Field(default=0.5, gt=0.0, le=1.0)
    """Factor on the learning rates at each rollback."""
    saturation_accuracy: float = Field(default=0.99, gt=0.5, le=1.0)
    """Share of images told rightly from which a discriminator may be saturated."""
    saturation_loss: float = Field(default=0.05, gt=0.0)
    """Loss of the discriminator below which it may be; games without a lower bound are never saturated."""
    saturation_steps: int = Field(default=500, ge=1)
    """Steps in a row that make it so."""
    least_variance: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Variance of the samples' features, as a share of real images', below which they have collapsed."""
    least_distance: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Median distance to the nearest other sample, as a share of real images', below which they are alike."""
    collapse_scores: int = Field(default=3, ge=1)
    """Measurements in a row that make a collapse."""
    grace: int = Field(default=4, ge=0)
    """Measurements after which samples that never were diverse count as collapsed too: beginnings are all alike."""
    worse_than: float = Field(default=1.5, gt=1.0)
    """Multiple of the best score above which a score counts as worse."""
    worse_scores: int = Field(default=3, ge=1)
    """Such scores in a row that make training worsened."""
    patience: int = Field(default=20, ge=1)
    """Measurements without a better score that make training stalled."""

    @model_validator(mode="after")
    def _check_rollbacks(self) -> HealthConfig:
        reactions = {name: getattr(self, name) for name in get_args(Trouble)}
        for name in ("max_rollbacks", "gentler"):
            value = getattr(self, name)
            if "roll_back" not in reactions.values() and value != HealthConfig.model_fields[name].default:
                told = ", ".join(f"{trouble}={reaction}" for trouble, reaction in reactions.items())
                raise ValueError(
                    f"{name} is of no use where no reaction is roll_back. Received: {name}={value:g}, {told}"
                )
        return self


@dataclass(frozen=True)
class Finding:
    """A trouble that was found.

    Attributes:
        trouble: Which one; the name of its reaction in `HealthConfig`.
        text: What was measured, and what to try.
    """

    trouble: Trouble
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
    alike = row[VARIANCE] < config.least_variance or row[NEAREST] < config.least_distance
    state.health.diverse = state.health.diverse or not alike
    if not state.health.diverse and state.clock.scores <= config.grace:
        return None
    if not _lasting(state, config, "collapsed", alike, limit=config.collapse_scores):
        return None
    return Finding(
        "collapsed",
        f"the samples' features vary by {row[VARIANCE]:.3f} of what real images' do, and the nearest other sample is "
        f"at {row[NEAREST]:.3f} of the distance of real images. Try lower learning rates, objective=relativistic or "
        "wgan_gp, or model.discriminator_norm=spectral",
    )


def worsened(score: float, state: TrainState, config: HealthConfig) -> Finding | None:
    """Looks at a score for a run that leaves its best behind."""
    best = score if state.best.score is None else state.best.score
    if not _lasting(state, config, "worsened", score > config.worse_than * best, limit=config.worse_scores):
        return None
    return Finding(
        "worsened",
        f"{config.worse_scores} scores in a row lay above {config.worse_than} times the best, {best:.4g} of step "
        f"{state.best.step}; this one is {score:.4g}. Try model.discriminator_norm=spectral or a falling "
        "training.schedule; the best generator is kept",
    )


def stalled(state: TrainState, config: HealthConfig) -> Finding | None:
    """Looks for a run that has been without a better score for long."""
    if not _lasting(state, config, "stalled", state.best.step != state.clock.step, limit=config.patience):
        return None
    return Finding(
        "stalled",
        f"no better score than {state.best.score:.4g} of step {state.best.step} in {config.patience} measurements. Try "
        "a falling training.schedule, or end here: training.health.stalled=stop",
    )


def _lasting(
    state: TrainState, config: HealthConfig, trouble: Trouble, present: bool, *, limit: int, by: int = 1
) -> bool:
    """Counts how long a sign has lasted; says whether it has lasted long enough, once for each time it lasts.

    It says so again where the run goes on with another limit or another reaction.
    """
    record, settings = state.health, f"{getattr(config, trouble)} at {limit}"
    if not present:
        record.signs[trouble] = 0
        record.told.pop(trouble, None)
        return False
    record.signs[trouble] = record.signs.get(trouble, 0) + by
    if record.signs[trouble] < limit or record.told.get(trouble) == settings:
        return False
    record.told[trouble] = settings
    return True
