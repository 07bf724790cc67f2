"""The section `platform` of the config. It is not a pipeline parameter."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from ganlib.config import RunConfig
from ganlib.schema import from_word
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
        workers = f"platform.workers={platform.workers}"
        if not platform.checkpoints and not (training.home and is_in_bucket(training.home)):
            raise ValueError(
                "several machines need a home that all of them reach: platform.checkpoints, or training.home in a "
                f"bucket, such as gs://bucket/home. Received: {workers}, platform.checkpoints=null, "
                f"training.home={training.home or 'null'}"
            )
        if training.strategy != "auto":
            raise ValueError(
                f"expected training.strategy=auto. Received: {workers}, training.strategy={training.strategy}"
            )
        replicas = platform.workers * (max(1, platform.gpus) if "train_gan" in platform.gpu_steps else 1)
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
        return self

    def to_sections(self) -> dict[str, dict[str, Any]]:
        """Returns one dict for each section, including the platform, which is not a pipeline parameter."""
        return {**self.to_parameters(), "platform": self.platform.to_parameter()}
