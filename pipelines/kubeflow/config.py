"""The section `platform` of the config. It is not a pipeline parameter."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from ganlib.config import RunConfig
from ganlib.schema import from_word
from ganlib.training import TrainConfig
from ganlib.training.strategy import resolve_compilation, resolve_precision
from ganlib.workers import is_in_bucket
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.vertex import Vertex

AnyPlatform = Annotated[Kubernetes | Vertex, Field(discriminator="kind"), BeforeValidator(from_word)]


class PipelineConfig(RunConfig):
    """Config of a run, with the platform that its pipeline is compiled for."""

    platform: AnyPlatform = Kubernetes()
    """Platform and resources of the compiled pipeline; `run` does not use it."""

    @model_validator(mode="after")
    def _check_home(self) -> PipelineConfig:
        if self.platform.checkpoints and self.training.home:
            raise ValueError(
                "expected one location for checkpoints: platform.checkpoints (a folder for each run) or training.home. "
                f"Received: platform.checkpoints={self.platform.checkpoints}, training.home={self.training.home}"
            )
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> PipelineConfig:
        platform, training = self.platform, self.training
        if not isinstance(platform, Kubernetes) or platform.workers == 1:
            return self
        if not platform.checkpoints and not (training.home and is_in_bucket(training.home)):
            raise ValueError(
                "several machines need a home that all of them reach: platform.checkpoints, or training.home in a "
                f"bucket, such as gs://bucket/home. Received: platform.workers={platform.workers}, "
                f"platform.checkpoints=null, training.home={training.home or 'null'}"
            )
        check_training(training, machines=platform.workers, replicas=platform.replicas)
        return self

    def to_sections(self) -> dict[str, dict[str, Any]]:
        """Returns one dict for each section, including the platform, which is not a pipeline parameter."""
        return {**self.to_parameters(), "platform": self.platform.to_parameter()}


def check_training(training: TrainConfig, *, machines: int, replicas: int) -> None:
    """Checks settings of a training on several machines.

    Args:
        training: Section `training`.
        machines: Number of machines.
        replicas: Number of replicas of all machines together.

    Raises:
        ValueError: They do not go together.
    """
    workers = f"platform.workers={machines}"
    if training.strategy != "auto":
        raise ValueError(f"expected training.strategy=auto. Received: {workers}, training.strategy={training.strategy}")
    if training.replicas not in (None, replicas):
        raise ValueError(
            f"expected the {replicas} replicas of all machines, or null. "
            f"Received: {workers}, training.replicas={training.replicas}"
        )
    training.check_shares(replicas)
    if training.compile != "auto":
        resolve_compilation(training.compile, replicas)
    if training.precision != "auto":
        resolve_precision(training.precision, replicas)
