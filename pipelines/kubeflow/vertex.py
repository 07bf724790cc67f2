"""The platform `vertex`: Vertex AI Pipelines."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pipelines.kubeflow.fields import MlflowVariable, SecretVersion
from pipelines.kubeflow.platform import Platform, is_bucket


class Vertex(Platform):
    """Vertex AI Pipelines, which select machines by processors, memory and GPUs."""

    kind: Literal["vertex"] = "vertex"
    max_prepare_tasks: ClassVar[int] = 100
    prepare_limit: ClassVar[str] = "as artifacts, of which Vertex AI takes 100"

    mlflow_secrets: dict[MlflowVariable, SecretVersion] = Field(default={})
    """Environment variables of MLflow that the steps read from Secret Manager, such as `{MLFLOW_TRACKING_TOKEN:
    projects/my-project/secrets/mlflow/versions/latest}`. The service account of the job must be allowed to."""

    @model_validator(mode="after")
    def _check(self) -> Vertex:
        if self.checkpoints is not None and not is_bucket(self.checkpoints, "gs"):
            raise ValueError(f"expected gs://bucket/prefix on Vertex AI. Received: checkpoints={self.checkpoints!r}")
        if self.gpus and self.gpu_type is None:
            raise ValueError(f"gpus need gpu_type, such as NVIDIA_L4. Received: gpus={self.gpus}, gpu_type=null")
        return self
