"""Applies the section `platform` to the tasks of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from kfp import dsl, kubernetes

from ganlib.credentials import SECRET_PREFIX, STEP_PREFIX
from ganlib.storage import CACHE
from ganlib.tracking import plugin
from ganlib.training.config import JOB_VARIABLE
from pipelines.kubeflow.kubernetes import (
    CACHE_FOLDER,
    KEY_FOLDER,
    MLFLOW_PLUGIN_SINCE,
    OPTIONAL_SECRETS_SINCE,
    RUN_LABEL,
    SCRATCH,
    SHARED_MEMORY,
    Kubernetes,
)
from pipelines.kubeflow.platform import Platform
from pipelines.kubeflow.vertex import PLATFORM_VARIABLE, Vertex

Value = TypeVar("Value")
S3_KEYS = f"{STEP_PREFIX}AWS_ACCESS_KEY_ID", f"{STEP_PREFIX}AWS_SECRET_ACCESS_KEY"
STEPS_WITH_DOWNLOADS = ("check_inputs", "prepare_data", "measure_reference")
STEPS_WITHOUT_DATA = ("export_model", "register_model")  # all others may read images, masks or weights of the user
SPOT = "cloud.google.com/gke-spot"
# The default of KFP is an hour from the start of the first attempt. Steps that run longer would never be retried, and
# later attempts would be ended then.
MAX_RETRY_TIME = f"{30 * 24 * 3600}s"


def configure_task(task: dsl.PipelineTask, *, step: str, platform: Platform) -> None:
    """Sets the resources and environment of a task and, on Kubernetes, its pod settings.

    Args:
        task: Task of the step, from its component.
        step: Name of the step.
        platform: Platform that the pipeline is compiled for. Other platforms get no Kubernetes settings, because their
            clients cannot read a file with a second document.
    """
    _set_resources(task, step, platform)
    for name, value in _variables(platform).items():
        task.set_env_variable(name, value)
    if isinstance(platform, Kubernetes):
        _select_nodes(task, step, platform)
        _mount_volumes(task, step, platform)
        _use_secrets(task, platform)
        _configure_pod(task, step, platform)


def _set_resources(task: dsl.PipelineTask, step: str, platform: Platform) -> None:
    cpu, memory = _value_for(step, platform.cpu), _value_for(step, platform.memory)
    if cpu:
        task.set_cpu_limit(cpu)
    if memory:
        task.set_memory_limit(memory)
    if isinstance(platform, Kubernetes):
        # Requests equal limits: a pod that uses more than it requested is evicted first.
        if cpu:
            task.set_cpu_request(cpu)
        if memory:
            task.set_memory_request(memory)
    if _has_gpu(step, platform):
        kind = platform.gpu_resource if isinstance(platform, Kubernetes) else platform.gpu_type
        task.set_accelerator_type(kind).set_accelerator_limit(platform.gpus)
    if platform.retry_count():
        task.set_retry(
            platform.retry_count(),
            backoff_duration=f"{platform.retry_seconds}s",
            backoff_factor=2,
            backoff_max_duration=MAX_RETRY_TIME,
        )


def _variables(platform: Platform) -> dict[str, str]:
    """Returns environment variables for all steps, besides those of the image."""
    variables = {
        "MLFLOW_TRACKING_URI": platform.mlflow_tracking_uri,
        "MLFLOW_EXPERIMENT_NAME": platform.mlflow_experiment,
    }
    if isinstance(platform, Kubernetes):
        variables[plugin.OWN_SERVER] = platform.mlflow_tracking_uri
        if not platform.is_older_than(MLFLOW_PLUGIN_SINCE):
            variables[plugin.PLUGIN] = plugin.ON if platform.uses_mlflow_plugin() else plugin.OFF
        if platform.scratch:
            variables["HOME"] = "/tmp"  # noqa: S108  # a path in the pod
        if platform.gcs_secret:
            variables[f"{STEP_PREFIX}GOOGLE_APPLICATION_CREDENTIALS"] = f"{KEY_FOLDER}/{platform.gcs_secret_key}"
        if platform.s3_endpoint:
            variables[f"{STEP_PREFIX}AWS_ENDPOINT_URL_S3"] = platform.s3_endpoint
        if platform.s3_region:
            variables[f"{STEP_PREFIX}AWS_REGION"] = platform.s3_region
    if isinstance(platform, Vertex):
        variables[PLATFORM_VARIABLE] = platform.kind
        variables |= {f"{SECRET_PREFIX}{name}": secret for name, secret in platform.mlflow_secrets.items()}
    return {name: value for name, value in variables.items() if value is not None}


def _select_nodes(task: dsl.PipelineTask, step: str, platform: Kubernetes) -> None:
    selector = dict(_value_for(step, platform.node_selector) or {})
    if platform.gpu_type and _has_gpu(step, platform):
        selector[platform.gpu_label] = platform.gpu_type
    if platform.spot:
        selector[SPOT] = "true"
        kubernetes.add_toleration(task, key=SPOT, operator="Equal", value="true", effect="NoSchedule")
    for key, value in sorted(selector.items()):
        kubernetes.add_node_selector(task, key, value)
    for taint in _value_for(step, platform.tolerations) or ():
        kubernetes.add_toleration(task, key=taint.key, operator=taint.operator, value=taint.value, effect=taint.effect)


def _mount_volumes(task: dsl.PipelineTask, step: str, platform: Kubernetes) -> None:
    if platform.shared_memory:
        kubernetes.empty_dir_mount(
            task,
            SHARED_MEMORY,
            mount_path="/dev/shm",  # noqa: S108  # a path in the pod
            medium="Memory",
            size_limit=platform.shared_memory,
        )
    if platform.scratch:
        kubernetes.empty_dir_mount(task, SCRATCH, mount_path="/tmp", size_limit=platform.scratch)  # noqa: S108
    if step not in STEPS_WITHOUT_DATA and platform.data_volume:
        kubernetes.mount_pvc(task, platform.data_volume, mount_path=platform.data_path)
    if step in STEPS_WITH_DOWNLOADS and platform.cache_volume:
        kubernetes.mount_pvc(task, platform.cache_volume, mount_path=CACHE_FOLDER)
        task.set_env_variable(CACHE, CACHE_FOLDER)
    if step == "train_gan" and platform.checkpoints_volume and platform.checkpoints:
        kubernetes.mount_pvc(task, platform.checkpoints_volume, mount_path=platform.checkpoints)
    if step == "train_gan" and (platform.checkpoints or platform.mlflow_tracking_uri or platform.workers > 1):
        # The run's identifier is a variable because a parameter would be part of the cache key.
        kubernetes.use_field_path_as_env(task, JOB_VARIABLE, f"metadata.labels['{RUN_LABEL}']")


def _use_secrets(task: dsl.PipelineTask, platform: Kubernetes) -> None:
    if platform.gcs_secret:
        kubernetes.use_secret_as_volume(task, platform.gcs_secret, mount_path=KEY_FOLDER)
    if platform.s3_secret:
        keys = dict(zip(platform.s3_secret_keys, S3_KEYS, strict=True))
        _use_secret_as_variables(task, platform.s3_secret, keys, platform)
    if platform.mlflow_secret:
        # MLflow's own variables could send them to the server of KFP's MLflow plugin.
        own = plugin.CREDENTIALS
        keys = {key: f"{plugin.OWN_PREFIX}{key}" if key in own else key for key in platform.mlflow_secret_keys}
        _use_secret_as_variables(task, platform.mlflow_secret, keys, platform)
    if platform.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(platform.image_pull_secrets))


def _use_secret_as_variables(task: dsl.PipelineTask, secret: str, keys: dict[str, str], platform: Kubernetes) -> None:
    kubernetes.use_secret_as_env(task, secret, keys, optional=platform.optional_secrets)
    if platform.is_older_than(OPTIONAL_SECRETS_SINCE):
        # KFP writes this field even for the default, and older servers refuse the run because of it.
        for reference in task.platform_config["kubernetes"]["secretAsEnv"]:
            reference.pop("optional", None)


def _configure_pod(task: dsl.PipelineTask, step: str, platform: Kubernetes) -> None:
    minutes = _value_for(step, platform.timeout_minutes)
    if minutes:
        kubernetes.set_timeout(task, minutes * 60)
    if platform.image_pull_policy:
        kubernetes.set_image_pull_policy(task, platform.image_pull_policy)
    user, group, non_root = platform.run_as_user, platform.run_as_group, platform.run_as_non_root
    if (user, group, non_root) != (None, None, None):
        kubernetes.set_security_context(task, run_as_user=user, run_as_group=group, run_as_non_root=non_root)
    for key, value in sorted(platform.pod_labels.items()):
        kubernetes.add_pod_label(task, key, value)


def _has_gpu(step: str, platform: Platform) -> bool:
    return platform.gpus > 0 and step in platform.gpu_steps


def _value_for(step: str, by_step: Mapping[Any, Value]) -> Value | None:
    return by_step.get(step, by_step.get("others"))
