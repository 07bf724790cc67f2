"""The platform `vertex`: Vertex AI Pipelines."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from pipelines.kubeflow.fields import MlflowVariable, SecretVersion
from pipelines.kubeflow.platform import Platform, names_bucket

PLATFORM_VARIABLE = "GAN_PIPELINES_PLATFORM"  # tells a compiled file that is for Vertex AI from others


class Vertex(Platform):
    """Vertex AI Pipelines, which select machines by processors, memory and GPUs."""

    kind: Literal["vertex"] = "vertex"

    mlflow_secrets: dict[MlflowVariable, SecretVersion] = Field(default={})
    """Environment variables of MLflow that the steps read from Secret Manager, such as `{MLFLOW_TRACKING_TOKEN:
    projects/my-project/secrets/mlflow/versions/latest}`. The service account of the job must be allowed to."""

    @model_validator(mode="after")
    def _check(self) -> Vertex:
        if self.checkpoints is not None and not names_bucket(self.checkpoints, "gs"):
            raise ValueError(f"expected gs://bucket/prefix on Vertex AI. Received: checkpoints={self.checkpoints!r}")
        if self.mlflow_secrets and self.mlflow_tracking_uri is None:
            names = ", ".join(self.mlflow_secrets)
            raise ValueError(
                "mlflow_secrets needs mlflow_tracking_uri, the server that they are for. "
                f"Received: mlflow_secrets={{{names}: ...}}, mlflow_tracking_uri=null"
            )
        if self.gpu_type is not None and not re.fullmatch("[A-Z][A-Z0-9_]*", self.gpu_type):
            raise ValueError(
                f"expected a type of GPU of Vertex AI, such as NVIDIA_L4. Received: gpu_type={self.gpu_type}"
            )
        if self.gpus and self.gpu_type is None:
            raise ValueError(f"gpus need gpu_type, such as NVIDIA_L4. Received: gpus={self.gpus}, gpu_type=null")
        return self
