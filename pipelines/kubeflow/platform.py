"""The settings that all platforms share: where a compiled pipeline runs, and with which resources."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from ganlib.schema import Config, from_single
from pipelines.kubeflow.fields import Cpu, LabelValue, Memory, Scope, Step, for_all_steps, split_address

# KFP passes the list to merge_parts as one argument of a process. A part takes 930 bytes of it where its address has
# 300 characters, and a quarter is left for longer ones. Vertex AI takes as many artifacts.
MAX_PREPARE_TASKS = 100


class Platform(Config):
    """Settings of all platforms: GPUs, processors, memory, retries, checkpoints and MLflow."""

    gpus: int = Field(default=0, ge=0, le=16)
    """Number of GPUs of each step in gpu_steps."""
    gpu_type: LabelValue | None = None
    """Type of GPU: the value of the node label gpu_label, such as nvidia-l4, or on Vertex, such as NVIDIA_L4."""
    gpu_steps: Annotated[tuple[Step, ...], BeforeValidator(from_single)] = ("train_gan",)
    """Steps that get GPUs. measure_reference and evaluate_gan are faster on GPUs, too."""
    prepare_tasks: int = Field(default=32, ge=1)
    """Number of tasks that prepare images at once, if there are as many data.shards; each prepares its share of them.
    At most 100."""
    parallel_candidates: int = Field(default=4, ge=1, le=100)
    """Number of candidates of a comparison that are trained at once."""
    cpu: Annotated[dict[Scope, Cpu], BeforeValidator(for_all_steps)] = Field(default={})
    """Processors, such as 4 or 500m: one value for all steps, or one for each step, with others for the rest."""
    memory: Annotated[dict[Scope, Memory], BeforeValidator(for_all_steps)] = Field(default={})
    """Memory, such as 16Gi: one value for all steps, or one for each step, with others for the rest."""
    retries: int | None = Field(default=None, ge=0, le=50)
    """Number of retries of a failed step; null means 3 on spot nodes and 0 elsewhere, but 1 for candidates of a
    comparison, which retry what may pass themselves."""
    retry_seconds: int = Field(default=60, ge=0)
    """Seconds before the first retry; doubled for each further one."""
    checkpoints: str | None = None
    """Location of checkpoints: gs://bucket/prefix, s3://bucket/prefix, or a path in checkpoints_volume. Each run has a
    folder there."""
    mlflow_tracking_uri: str | None = None
    """Address of the MLflow server for the pods, without credentials."""
    mlflow_experiment: str | None = Field(default=None, min_length=1)
    """MLflow experiment for the runs."""

    @model_validator(mode="after")
    def _check_prepare_tasks(self) -> Platform:
        if self.prepare_tasks > MAX_PREPARE_TASKS:
            raise ValueError(
                f"expected at most {MAX_PREPARE_TASKS} tasks, because the next step gets the list of all as one "
                "argument, which Linux limits to 128 KiB; data.shards may be more. "
                f"Received: prepare_tasks={self.prepare_tasks}"
            )
        return self

    @model_validator(mode="after")
    def _check_tracking(self) -> Platform:
        uri = self.mlflow_tracking_uri
        if uri is None:
            return self
        address = uri.rpartition("@")[2]  # without credentials
        if "@" in uri.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "expected an address without credentials, which must not be in a compiled file (see mlflow_secret). "
                f"Received: mlflow_tracking_uri=...@{address}"
            )
        if split_address(uri) is None:
            raise ValueError(
                "expected an http:// or https:// address, because pods do not share a disk. "
                f"Received: mlflow_tracking_uri={address!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_gpu(self) -> Platform:
        if self.gpus and not self.gpu_steps:
            raise ValueError(f"expected at least one step in gpu_steps. Received: gpus={self.gpus}, gpu_steps=[]")
        if self.gpu_type is not None and not self.gpus:
            raise ValueError(f"gpu_type needs gpus of at least 1. Received: gpus=0, gpu_type={self.gpu_type}")
        return self

    def retry_count(self) -> int:
        """Returns the number of retries of a failed step."""
        return self.retries or 0


def names_bucket(path: str, *schemes: str) -> bool:
    """Returns whether a location is an address that names a bucket of one of the schemes, such as `gs`."""
    scheme, _, name = path.partition("://")
    return scheme in schemes and bool(name.strip("/"))
