"""The budget of a comparison: what the training of each candidate may use, and which settings it decides."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from ganlib.schema import problems
from ganlib.selection.candidate import BUDGET, LOOKS, PLACES
from pipelines.kubeflow.config import PipelineConfig
from pipelines.settings import SettingsError, assigned_fields

UNLIMITED_STEPS = 10_000_000  # where the minutes end a training
LOOP = 10  # most steps between two looks at the clock
Unit = Literal["images", "steps", "minutes"]


@dataclass(frozen=True)
class Budget:
    """What every candidate may use.

    Attributes:
        unit: images (real ones that the discriminator sees), steps (of the generator), or minutes (of training).
        amount: How much of it; None means the images that the common settings lead to.
    """

    unit: Unit = "images"
    amount: float | None = None

    def of(self, common: PipelineConfig) -> float:
        """Returns how much it is with the common settings."""
        return common.training.steps * _images_per_step(common) if self.amount is None else self.amount

    def text(self, common: PipelineConfig) -> str:
        """Returns the budget for people, with the common setting that it replaces."""
        text = f"{self.of(common):,.10g} {self.unit} for each training"
        return text if self.amount is None else f"{text}, instead of training.steps={common.training.steps}"


def check_common(
    common: PipelineConfig, budget: Budget, *, assigned: Collection[str], explicit: Collection[str]
) -> None:
    """Refuses common settings that the comparison would replace, or that end trainings at different points.

    Args:
        common: The common config.
        budget: The budget.
        assigned: Names of its fields that were assigned one by one.
        explicit: The same and those of files.

    Raises:
        SettingsError: There is such a setting.
    """
    training = common.training
    if budget.amount is not None and "training.steps" in assigned:
        raise SettingsError(
            f"expected one budget: either training.steps or --{budget.unit}. Received: "
            f"training.steps={training.steps}, --{budget.unit} {budget.amount:g}"
        )
    if training.max_minutes is not None:
        raise SettingsError(
            "expected a budget of time as --minutes, which counts for all variants alone. "
            f"Received: training.max_minutes={training.max_minutes:g}"
        )
    if training.target_score is not None:
        raise SettingsError(
            "expected trainings that use their whole budget; one that ends at a score cannot be compared by its score. "
            f"Received: training.target_score={training.target_score:g}"
        )
    if "training.run_name" in explicit:
        raise SettingsError(
            "expected no name of a run: candidates are named by the comparison (--name), their variant and their seed. "
            f"Received: training.run_name={training.run_name}"
        )


def check_own(assignments: Iterable[str]) -> None:
    """Refuses fields in a variant that the comparison sets.

    Raises:
        SettingsError: There is such a field.
    """
    for field in (field for assignment in assignments for field in assigned_fields(assignment)):
        if field.removeprefix("training.") in (*BUDGET, *LOOKS, *PLACES):
            raise SettingsError(
                f"expected fields that variants may differ in. The budget is one for all (--images, --steps or "
                f"--minutes), and so is how often they are scored (--set). Received: {field}"
            )


def at_budget(
    config: PipelineConfig, common: PipelineConfig, budget: Budget, *, explicit: Collection[str]
) -> PipelineConfig:
    """Returns a config with the steps of a budget. All trainings are looked at equally often.

    Args:
        config: Config of a variant.
        common: The common config.
        budget: The budget.
        explicit: Names of the common fields that the user set. Steps between two looks that come from a preset are
            parts of its training; those of the user are steps at the budget.

    Raises:
        SettingsError: A schedule of learning rates would not come to its end.
    """
    training, amount = config.training, budget.of(common)
    if budget.unit == "images" and amount < _images_per_step(config):
        raise SettingsError(
            f"expected at least one step, which shows {_images_per_step(config)} images. Received: --images {amount:g}"
        )
    if budget.unit == "minutes":
        if training.schedule != "constant":
            raise SettingsError(
                "a schedule of learning rates ends at a step, and the minutes would end the training before; expected "
                f"training.schedule=constant, or a budget of images. Received: training.schedule={training.schedule}"
            )
        loop = min(training.steps_per_loop, LOOP)
        looks = {name: getattr(common.training, name) for name in LOOKS}
        return _with_training(
            config, {"max_minutes": amount, "steps": UNLIMITED_STEPS, "steps_per_loop": loop, **looks}
        )
    steps, common_steps = (_steps(one, budget.unit, amount) for one in (config, common))
    looks = {}
    for name in LOOKS:
        whole = common_steps if f"training.{name}" in explicit else common.training.steps
        looks[name] = math.ceil(steps / max(1, round(whole / getattr(common.training, name))))
    return _with_training(config, {"steps": steps, **looks})


def _steps(config: PipelineConfig, unit: Unit, amount: float) -> int:
    return max(1, round(amount / (_images_per_step(config) if unit == "images" else 1)))


def _images_per_step(config: PipelineConfig) -> int:
    return config.training.batch_size * config.objective.discriminator_steps


def _with_training(config: PipelineConfig, update: Mapping[str, Any]) -> PipelineConfig:
    values = config.to_sections()
    values["training"] |= update
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(problems(error))) from error
