"""The pods of a job: what they do, why they wait, and how they ended."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ganlib.workers.api import ApiServer, Object
from ganlib.workers.jobs import JOB_LABEL

INDEX_LABELS = ("batch.kubernetes.io/job-completion-index", "training.kubeflow.org/replica-index")
PENDING = "Pending"


@dataclass(frozen=True)
class Ending:
    """How the process of a worker ended.

    Attributes:
        index: Number of the worker; 0 is the chief.
        code: Exit code of its process.
        message: What it reported, or what Kubernetes knows.
    """

    index: int
    code: int
    message: str


@dataclass(frozen=True)
class Pod:
    """A worker's pod.

    Attributes:
        name: Its name.
        index: Number of the worker.
        created: When it was created.
        phase: `Pending`, `Running`, `Succeeded` or `Failed`.
        waits: Why it has not started, or empty.
        ending: How its last process ended, if one did without success.
    """

    name: str
    index: int
    created: str
    phase: str
    waits: str
    ending: Ending | None


def pods_of(server: ApiServer, job: str) -> list[Pod]:
    """Returns the pods of a job, the newest last."""
    found = server.objects(server.path("api/v1", "pods"), labelSelector=f"{JOB_LABEL}={job}")
    pods = [_read(item) for item in found if "deletionTimestamp" not in item["metadata"]]
    return sorted(pods, key=lambda pod: pod.created)


def warning_about(server: ApiServer, job: str) -> str:
    """Returns the last warning about a job or an object that it owns, such as one about a quota; may be empty."""
    try:
        events = server.objects(server.path("api/v1", "events"), fieldSelector="type=Warning")
    except ValueError:  # the right to read events is not needed for anything else
        return ""
    about = [event for event in events if event["involvedObject"].get("name", "").startswith(job)]
    about.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return f"{about[-1]['reason']}: {about[-1]['message']}" if about else ""


def _read(item: Object) -> Pod:
    metadata, status = item["metadata"], item.get("status", {})
    labels = metadata.get("labels", {})
    index = int(next((labels[name] for name in INDEX_LABELS if name in labels), 0))
    containers = status.get("containerStatuses", [])
    return Pod(
        name=metadata["name"],
        index=index,
        created=metadata.get("creationTimestamp", ""),
        phase=status.get("phase", PENDING),
        waits=_waits(status, containers),
        ending=_ending(index, status, containers),
    )


def _waits(status: Object, containers: list[Object]) -> str:
    for container in containers:
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            return ": ".join(filter(None, [waiting.get("reason"), waiting.get("message")]))
    for item in status.get("conditions", []):
        if item["type"] == "PodScheduled" and item["status"] == "False":
            return ": ".join(filter(None, [item.get("reason"), item.get("message")]))
    return ""


def _ending(index: int, status: Object, containers: list[Object]) -> Ending | None:
    for container in containers:
        for state in (container.get("state", {}), container.get("lastState", {})):
            ended = state.get("terminated")
            if ended and ended["exitCode"] != 0:
                known = f"{ended.get('reason', 'Error')}, exit code {ended['exitCode']}"
                return Ending(index, ended["exitCode"], _report(ended.get("message", "")) or known)
    if status.get("phase") == "Failed":  # a pod whose node is gone, or that was evicted
        known = ": ".join(filter(None, [status.get("reason", "the pod failed"), status.get("message")]))
        return Ending(index, 1, known)
    return None


def _report(text: str) -> str:
    """Returns what a worker reported of its failure; other text is that of Kubernetes."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text.strip()
