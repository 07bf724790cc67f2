"""The section `evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ganlib.evaluation.extractors import Space
from ganlib.schema import Config


class EvaluationConfig(Config):
    """In which feature space, and on how many samples, generated images are judged."""

    extractor: Space | None = None
    """Feature space: classifier or rotation; null means classifier where there are labels, else rotation."""
    samples: int | None = Field(default=None, ge=2)
    """Generated images to score; null, or more than there are real test images, means as many as those."""
    generator: Literal["best", "last"] = "best"
    """Which of the two kept generators is judged and shipped."""
    classification_accuracy: bool = False
    """Whether classifiers are trained on generated images and tested on real ones; three trainings, needs classes."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the extractor's training and of the samples."""
