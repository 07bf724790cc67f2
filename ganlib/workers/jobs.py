"""TrainJobs and TFJobs: their definitions, and what their conditions say.

From the sources of Kubeflow Trainer 2.1 to 2.3 and Training Operator 1.9.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ganlib.workers.api import ApiServer, Object
from ganlib.workers.settings import JobKind, Workers

PORT = 2222
MANAGER = "gan-pipelines/step"  # who owns the patches of a TrainJob
PATCHES, OVERRIDES = "runtimePatches", "podTemplateOverrides"  # where a TrainJob has them: since 2.2, and in 2.1
STEP_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"
NODE = "node"  # name of the container that Kubeflow Trainer replaces
JOB_LABEL = "gan-pipelines/job"  # of the workers' pods
FOLLOWER, ATTEMPT = "gan-pipelines/follower", "gan-pipelines/attempt"  # annotations of the job
JOB_PATH, ADDRESSES = "GAN_PIPELINES_WORKERS_JOB", "GAN_PIPELINES_WORKERS_ADDRESSES"  # variables of the workers
# Kubeflow's namespaces add a proxy to every pod. It would stand between the workers, and outlive them.
NO_PROXY = {"sidecar.istio.io/inject": "false"}


@dataclass(frozen=True)
class Api:
    """A kind of job in the API of Kubernetes.

    Attributes:
        kind: Its name.
        group: Its API group.
        version: Version of the group.
        plural: Its name in paths.
        succeeded: Condition of a job that succeeded.
        needs: What brings it to a cluster.
    """

    kind: str
    group: str
    version: str
    plural: str
    succeeded: str
    needs: str

    def path(self, server: ApiServer, name: str = "") -> str:
        """Returns the path of all jobs, or of one."""
        return server.path(f"apis/{self.group}/{self.version}", self.plural, name)


APIS: dict[JobKind, Api] = {
    "trainjob": Api("TrainJob", "trainer.kubeflow.org", "v1alpha1", "trainjobs", "Complete", "Kubeflow Trainer 2.1"),
    "tfjob": Api("TFJob", "kubeflow.org", "v1", "tfjobs", "Succeeded", "Training Operator 1.9"),
}


@dataclass(frozen=True)
class Start:
    """What each job of a training starts with.

    Attributes:
        name: Name of the job.
        command: Command of the workers.
        variables: Environment variables of the workers, as in a container, besides those of the pod template.
        account: Service account of the workers.
        follower: Name and UID of the pod that follows the job.
    """

    name: str
    command: Sequence[str]
    variables: Sequence[Object]
    account: str
    follower: tuple[str, str]


def create(workers: Workers, start: Start, *, server: ApiServer, attempt: int, dry_run: bool = False) -> None:
    """Creates the job. If it exists, an answer was lost and the request repeated.

    Args:
        workers: Settings of the workers.
        start: Name, command and follower.
        server: Where to create it.
        attempt: Number of jobs that failed before.
        dry_run: Only check whether it could be created.

    Raises:
        ValueError: The server refuses it, or the runtime of a TrainJob does not exist or cannot be used.
    """
    api, body = APIS[workers.by], definition(workers, start, server=server, attempt=attempt)
    for field in (PATCHES, OVERRIDES):
        form = _for_trainer_21(body) if field == OVERRIDES else body
        try:
            server.create(api.path(server), form, dry_run=dry_run)
            return
        except ValueError as error:
            if f'unknown field "spec.{field}"' not in str(error):
                raise
    raise ValueError(f"expected {api.needs} or newer on the cluster. Received: platform.workers_by={workers.by}")


def definition(workers: Workers, start: Start, *, server: ApiServer, attempt: int) -> Object:
    """Returns the job to create.

    Args:
        workers: Settings of the workers.
        start: Name, command and follower.
        server: Where it will be created.
        attempt: Number of jobs that failed before.

    Raises:
        ValueError: The runtime of a TrainJob does not exist, or cannot be used.
    """
    api = APIS[workers.by]
    pod = _pod(workers, start, api.path(server, start.name))
    spec = _trainjob(workers, start, pod, server) if workers.by == "trainjob" else _tfjob(workers, pod)
    metadata = {"name": start.name, "labels": {JOB_LABEL: start.name}, **followed_by(start.follower, attempt=attempt)}
    return {"apiVersion": f"{api.group}/{api.version}", "kind": api.kind, "metadata": metadata, "spec": spec}


def followed_by(follower: tuple[str, str], *, attempt: int, others: Sequence[Object] = ()) -> Object:
    """Returns the metadata of a job that a pod follows: it is deleted when this pod and other owners are.

    Args:
        follower: Name and UID of the pod.
        attempt: Number of jobs that failed before.
        others: Its owners so far.
    """
    name, uid = follower
    # With `blockOwnerDeletion` the service account would need a right to change pods' finalizers.
    own = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "blockOwnerDeletion": False}
    owners = [owner for owner in others if owner.get("uid") != uid]
    return {"annotations": {FOLLOWER: name, ATTEMPT: str(attempt)}, "ownerReferences": [*owners, own]}


def condition(job: Object, kind: str) -> Object | None:
    """Returns a condition of a job, such as `Failed`, if it is true."""
    found = job.get("status", {}).get("conditions", [])
    return next((item for item in found if item["type"] == kind and item["status"] == "True"), None)


def _pod(workers: Workers, start: Start, path: str) -> Object:
    pod: Object = copy.deepcopy(workers.pod)
    metadata = pod.setdefault("metadata", {})
    # Istio reads the label, and before 1.12 only the annotation.
    metadata["labels"] = {**metadata.get("labels", {}), **NO_PROXY, JOB_LABEL: start.name}
    metadata["annotations"] = {**metadata.get("annotations", {}), **NO_PROXY}
    pod["spec"]["serviceAccountName"] = start.account
    (container,) = pod["spec"]["containers"]
    given = {item["name"] for item in container.get("env", [])}
    more = [*start.variables, {"name": JOB_PATH, "value": path}]
    container["env"] = [*container.get("env", []), *(item for item in more if item["name"] not in given)]
    container["command"] = list(start.command)
    return pod


def _tfjob(workers: Workers, pod: Object) -> Object:
    """Returns the spec of a TFJob, which sets TF_CONFIG and succeeds when worker 0, the chief, does."""
    pod["spec"]["containers"][0]["name"] = "tensorflow"  # the name that the operator looks for
    # The step starts a new job where one fails: a lost worker ends all the others anyway.
    replicas = {"replicas": workers.count, "restartPolicy": "Never", "template": pod}
    return {"runPolicy": {"cleanPodPolicy": "Running"}, "tfReplicaSpecs": {"Worker": replicas}}


def _trainjob(workers: Workers, start: Start, pod: Object, server: ApiServer) -> Object:
    """Returns the spec of a TrainJob, which starts from a runtime and changes its pods."""
    kind, runtime = _find_runtime(workers.runtime, server)
    template = runtime["spec"]["template"]["spec"]
    jobs = [
        job["name"]
        for job in template["replicatedJobs"]
        if job["template"].get("metadata", {}).get("labels", {}).get(STEP_LABEL) == "trainer"
        and any(item["name"] == NODE for item in job["template"]["spec"]["template"]["spec"]["containers"])
    ]
    if len(jobs) != 1:
        raise ValueError(
            f"expected a runtime with one job that is labelled {STEP_LABEL}=trainer and has a container named {NODE}. "
            f"Received: platform.workers_runtime={workers.runtime}"
        )
    # The pods of a JobSet have these names in its network.
    domain = template.get("network", {}).get("subdomain") or start.name
    addresses = [f"{start.name}-{jobs[0]}-0-{index}.{domain}:{PORT}" for index in range(workers.count)]
    container = pod["spec"].pop("containers")[0]
    patched = {name: container.pop(name) for name in ("volumeMounts", "securityContext") if name in container}
    if patched:
        pod["spec"]["containers"] = [{"name": NODE, **patched}]
    container["env"].append({"name": ADDRESSES, "value": json.dumps(addresses)})
    trainer: dict[str, Any] = {
        "numNodes": workers.count,
        "resourcesPerNode": container.pop("resources", {}),
        **container,
    }
    job = {"name": jobs[0], "template": {"spec": {"template": pod}}}
    patch = {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
    reference = {"apiGroup": APIS["trainjob"].group, "kind": kind, "name": workers.runtime}
    return {"runtimeRef": reference, "trainer": trainer, PATCHES: [patch]}


def _for_trainer_21(job: Object) -> Object:
    """Returns a TrainJob with the fields of Kubeflow Trainer 2.1, whose changes of a runtime have another form.

    Raises:
        ValueError: It could not express something.
    """
    spec = dict(job["spec"])
    (patch,) = spec.pop(PATCHES)
    (part,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = part["template"]["spec"]["template"]
    if any("securityContext" in container for container in pod["spec"].get("containers", [])):
        raise ValueError(
            "the cluster has Kubeflow Trainer 2.1, which cannot set the user of workers; expected 2.2 or newer, or "
            "platform.workers_by=tfjob. Received: platform.run_as_user, run_as_group or run_as_non_root"
        )
    return {**job, "spec": {**spec, OVERRIDES: [{"targetJobs": [{"name": part["name"]}], **pod}]}}


def _find_runtime(name: str, server: ApiServer) -> tuple[str, Object]:
    """Returns the kind of a runtime, and the runtime: that of the namespace before that of the cluster."""
    api = f"apis/{APIS['trainjob'].group}/{APIS['trainjob'].version}"
    places = {
        "TrainingRuntime": server.path(api, "trainingruntimes"),
        "ClusterTrainingRuntime": f"/{api}/clustertrainingruntimes",
    }
    for kind, place in places.items():
        runtime = server.get(f"{place}/{name}")
        if runtime is not None:
            return kind, runtime
    known = [item["metadata"]["name"] for place in places.values() for item in server.objects(place)]
    raise ValueError(
        f"expected one of the cluster's runtimes: {', '.join(known) or 'it has none'}. "
        f"Received: platform.workers_runtime={name}"
    )
