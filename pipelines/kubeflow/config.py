"""The section `platform` of the config. It is not a pipeline parameter."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from ganlib.config import RunConfig
from ganlib.schema import from_word
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

    def to_sections(self) -> dict[str, dict[str, Any]]:
        """Returns one dict for each section, including the platform, which is not a pipeline parameter."""
        return {**self.to_parameters(), "platform": self.platform.to_parameter()}
