"""The section `export.gate`: the thresholds of the gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ganlib.schema import Config, from_single
from ganlib.training.config import Problem


class GateConfig(Config):
    """Thresholds of the gate. Only what has a threshold is checked, and without any threshold nothing is promoted."""

    champion: Literal["better", "not_worse"] | None = None
    """How the main score has to compare with that of the champion: better, by more than the combined error; or
    not_worse, with the combined error added to it, than the champion's plus margin. A first version has no champion, so
    the other thresholds decide alone."""
    margin: float | None = Field(default=None, ge=0.0)
    """For not_worse: by how much the score may be worse, in units of the score."""
    relative_margin: float | None = Field(default=None, ge=0.0)
    """The same as a fraction of the champion's score; an alternative to margin."""
    standard_errors: float = Field(default=1.0, ge=0.0)
    """Number of combined standard errors that count as the error. An equal model is promoted as a better one by chance
    in 16 % of cases with 1, and in 2 % with 2."""
    max_scores: dict[str, float] = Field(default={})
    """Largest values of scores by measure, such as {fd: 20}, or by complete name."""
    min_scores: dict[str, float] = Field(default={})
    """Smallest values of scores, such as {recall: 0.4, coverage: 0.5, psnr_hole: 18, luminance_correlation: 0}."""
    max_floor_ratio: float | None = Field(default=None, gt=0.0)
    """Largest main score as a multiple of its floor, the score of real images."""
    min_floor_ratio: float | None = Field(default=None, ge=0.0)
    """Smallest main score as a multiple of its floor; a score far below that of real images is suspect."""
    memorisation_errors: float | None = Field(default=None, ge=0.0)
    """Number of combined standard errors by which memorised_pixels may exceed its floor, or the 0.05 of chance."""
    events: Annotated[tuple[Problem, ...] | None, BeforeValidator(from_single)] = None
    """Health events that refuse the model if one happened at the best step or later, such as [collapsed, degraded]."""
    min_class_ratio: float | None = Field(default=None, ge=0.0, le=1.0)
    """Smallest share of a class among the generated images, as a fraction of its share among real ones."""
    min_class_agreement: float | None = Field(default=None, ge=0.0, le=1.0)
    """Smallest share of the images of a requested class that the classifier takes for this class."""
    max_shortcut_share: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest share of samples that return their input or paint the mean, for tasks from images to images."""
    max_parity: float | None = Field(default=None, ge=0.0)
    """Largest difference of any exported format to the images of training, in the range -1..1."""
    trial: bool = False
    """Whether the model has to have answered in the server that will serve it."""

    @model_validator(mode="after")
    def _check_margin(self) -> GateConfig:
        margins = {"margin": self.margin, "relative_margin": self.relative_margin}
        given = [f"{name}={value:g}" for name, value in margins.items() if value is not None]
        if len(given) > 1 or (given and self.champion != "not_worse"):
            raise ValueError(
                f"expected one of margin and relative_margin, with champion=not_worse. Received: "
                f"champion={self.champion}, {', '.join(given)}"
            )
        return self
