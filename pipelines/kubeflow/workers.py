"""Training on several machines: what the step that hands its work over gets, and what the pods of the workers get."""

from typing import Any

from google.protobuf import json_format
from kfp import dsl

from ganlib.workers import Workers
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.pods import configure_task

Pod = dict[str, Any]
# What KFP adds to the pod of a step and a worker does not need: it gets the run's home as it is, and its job ends when
# the step does.
OF_THE_STEP = ("fieldPathAsEnv", "activeDeadlineSeconds")
EMPTY_FIELDS = ("medium", "sizeLimit")


def step_of_workers(platform: Kubernetes) -> Kubernetes:
    """Returns the platform of a step that waits for workers: that of other steps, without GPUs and spot nodes."""
    fields = ("cpu", "memory", "node_selector", "tolerations")
    others = {
        name: {"others": value["others"]} if "others" in (value := getattr(platform, name)) else {} for name in fields
    }
    waiting = {"gpus": 0, "gpu_type": None, "spot": False, "shared_memory": None, "retries": platform.retry_count()}
    return platform.model_copy(update={**others, **waiting})


def workers_of(image: str, platform: Kubernetes) -> Workers:
    """Returns the settings of the workers, whose pods are those that train_gan would have on one machine.

    Args:
        image: Container image of the workers.
        platform: Platform with `workers`.
    """
    container, pod = _compile(image, platform)
    return Workers(
        by=platform.workers_by,
        count=platform.workers,
        replicas=platform.replicas,
        runtime=platform.workers_runtime,
        start_minutes=platform.workers_start_minutes,
        retries=platform.retry_count(),
        pod=_template(image, container, pod),
    )


def _compile(image: str, platform: Kubernetes) -> tuple[Pod, Pod]:
    """Returns what a pipeline of one step says about its container and its pod, in the words of KFP."""

    @dsl.container_component  # type: ignore[untyped-decorator]  # KFP has no types
    def train_gan() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image=image, command=["train_gan"])

    @dsl.pipeline(name="workers")  # type: ignore[untyped-decorator]
    def pipeline() -> None:
        configure_task(train_gan(), step="train_gan", platform=platform)

    spec = json_format.MessageToDict(pipeline.pipeline_spec)["deploymentSpec"]["executors"]
    pods = json_format.MessageToDict(pipeline.platform_spec).get("platforms", {}).get("kubernetes", {})
    (container,), executors = spec.values(), pods.get("deploymentSpec", {}).get("executors", {})
    return container["container"], next(iter(executors.values()), {})


def _template(image: str, container: Pod, pod: Pod) -> Pod:
    """Returns the pod template of Kubernetes for KFP's settings."""
    pod = {name: value for name, value in pod.items() if name not in OF_THE_STEP}
    variables = [{"name": item["name"], "value": item["value"]} for item in container.get("env", [])]
    for secret in pod.pop("secretAsEnv", []):
        optional = {"optional": True} if secret.get("optional") else {}
        for item in secret["keyToEnv"]:
            reference = {"name": secret["secretName"], "key": item["secretKey"], **optional}
            variables.append({"name": item["envVar"], "valueFrom": {"secretKeyRef": reference}})
    volumes, mounts = _volumes(pod)
    security = pod.pop("securityContext", {})
    security = {name: int(value) if isinstance(value, str) else value for name, value in security.items()}
    policy, metadata = pod.pop("imagePullPolicy", None), pod.pop("podMetadata", {})
    one = {"image": image, "env": variables, "resources": _resources(container.get("resources", {}))}
    one |= {"volumeMounts": mounts, "securityContext": security, "imagePullPolicy": policy}
    spec = {
        "containers": [{name: value for name, value in one.items() if value or name == "env"}],
        "volumes": volumes,
        "nodeSelector": pod.pop("nodeSelector", {}).get("labels", {}),
        "tolerations": pod.pop("tolerations", []),
        "imagePullSecrets": [{"name": item["secretName"]} for item in pod.pop("imagePullSecret", [])],
    }
    if pod:
        raise ValueError(f"expected settings that pods of workers can have. Received: {', '.join(sorted(pod))}")
    return {"metadata": metadata, "spec": {name: value for name, value in spec.items() if value}}


def _volumes(pod: Pod) -> tuple[list[Pod], list[Pod]]:
    """Takes volumes out of KFP's settings; returns volumes and mounts of Kubernetes."""
    claims, secrets, empty = (pod.pop(name, []) for name in ("pvcMount", "secretAsVolume", "emptyDirMounts"))
    volumes = [
        *({"name": claim["constant"], "persistentVolumeClaim": {"claimName": claim["constant"]}} for claim in claims),
        *({"name": item["secretName"], "secret": {"secretName": item["secretName"]}} for item in secrets),
        *(
            {"name": item["volumeName"], "emptyDir": {name: item[name] for name in EMPTY_FIELDS if name in item}}
            for item in empty
        ),
    ]
    paths = [item["mountPath"] for item in (*claims, *secrets, *empty)]
    return volumes, [{"name": volume["name"], "mountPath": path} for volume, path in zip(volumes, paths, strict=True)]


def _resources(resources: Pod) -> Pod:
    limits = {"cpu": resources.get("resourceCpuLimit"), "memory": resources.get("resourceMemoryLimit")}
    accelerator = resources.get("accelerator")
    if accelerator:
        limits[accelerator["resourceType"]] = accelerator["resourceCount"]
    limits = {name: value for name, value in limits.items() if value}
    return {"limits": limits, "requests": limits} if limits else {}
