"""What a step must know to hand its work over. In a compiled pipeline it is an environment variable of the step."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

from pydantic import Field

from ganlib import storage
from ganlib.schema import Config

WORKERS_VARIABLE = "GAN_PIPELINES_WORKERS"
SECTIONS, DATASET, REFERENCE, TRAINED = "sections.json", "dataset", "reference", "trained"  # beside the home
JobKind = Literal["trainjob", "tfjob"]


def is_in_bucket(location: str) -> bool:
    """Returns whether a location is a name in a bucket, so that another name can stand beside it."""
    return storage.is_bucket(location) and "/" in location.partition("://")[2].strip("/")


class Workers(Config):
    """The workers of a training: how many there are, who starts them, and their pods."""

    by: JobKind
    """trainjob: Kubeflow Trainer 2; tfjob: Training Operator."""
    count: int = Field(ge=2)
    """Number of machines."""
    replicas: int = Field(ge=2)
    """Number of replicas on all machines together."""
    runtime: str
    """Name of the TrainingRuntime or ClusterTrainingRuntime that a TrainJob starts from."""
    start_minutes: int = Field(ge=1)
    """Minutes in which all workers must have started; the time of a suspended job does not count."""
    retries: int = Field(ge=0)
    """Number of further jobs if one fails, each of which resumes from the last checkpoint."""
    pod: dict[str, Any]
    """Pod template of Kubernetes with one container, without a name and a command."""

    @classmethod
    def from_environment(cls) -> Workers:
        """Reads the settings of this step.

        Raises:
            ValueError: The variable is not set, or is not what `compile` writes.
        """
        text = os.environ.get(WORKERS_VARIABLE, "")
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(
                f"expected JSON in the variable {WORKERS_VARIABLE}, which `gan-pipelines compile` sets with "
                f"platform.workers. Received: {WORKERS_VARIABLE}={text[:80]!r}"
            ) from error
        return cls.model_validate(values)
