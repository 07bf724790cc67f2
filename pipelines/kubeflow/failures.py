"""Why a run failed: the line that a step has printed, from the log of its pod.

The API v2beta1 tells the states of tasks, but neither their pods nor their errors (`toApiPipelineTaskDetail` in
api_converter.go of KFP 2.14 to 2.17 fills in no error). Both are in the Argo workflow, which v1beta1 returns.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import kfp_server_api as api

from ganlib.tracking import redact
from pipelines.kubeflow.server import Server

MAX_TEXT = 500  # characters of a line from the cluster
MAX_NODES = 64 * 1024 * 1024  # bytes of the states of nodes, unpacked; Argo's limit is 1 MiB packed
POD_NAMES = "workflows.argoproj.io/pod-name-format"
ATTEMPT = re.compile(r"\(\d+\)")  # number of an attempt in the name of a node; iterations are (0:0)
ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)")
OWN_LINE = "error: "  # ganlib.steps prints it last; lines of KFP's launcher follow
LOG_ERROR = '{"error_message":'  # run_log_server.go sends errors with status 200, after what it has sent of the log


@dataclass(frozen=True)
class Failure:
    """A step that failed.

    Attributes:
        step: Name of the task.
        pod: Name of the pod of its last attempt.
        message: Argo's message, such as "Error (exit code 1)".
        count: Number of tasks of this name that failed, such as parts of a loop; the others are those of the first.
    """

    step: str
    pod: str
    message: str
    count: int


def explain(server: Server, run: api.V2beta1Run) -> list[str]:
    """Returns why a run failed: for each failed step its own line and the address of its log, or Argo's message.

    Text of the cluster is not trusted: it is one line, printable and short.

    Raises:
        Refused: The server refuses the request, for example because the token has expired.
        Unavailable: The server cannot be reached or fails.
    """
    workflow, failures = _workflow(server, str(run.run_id))
    lines = [line for failure in failures for line in _explain(server, str(run.run_id), workflow, failure)]
    own = [run.error.message] if run.error and run.error.message else []
    message = workflow.get("status", {}).get("message", "")  # of the whole workflow, such as its deadline
    return lines or [clean(text) for text in (*own, message) if text]


def find_failures(workflow: dict[str, Any]) -> list[Failure]:
    """Returns the failed steps of an Argo workflow, in the order in which they failed."""
    nodes = [node for node in workflow.get("status", {}).get("nodes", {}).values() if isinstance(node, dict)]
    recovered = {
        ATTEMPT.sub("", node["name"]) for node in nodes if node["type"] == "Retry" and node["phase"] == "Succeeded"
    }
    last: dict[str, dict[str, Any]] = {}  # the last attempt, by the name of the task's node
    for node in sorted(nodes, key=lambda node: node.get("startedAt") or ""):
        if node["type"] == "Pod" and node["phase"] in ("Failed", "Error"):
            parts = (name := ATTEMPT.sub("", node["name"])).split(".")
            if not any(".".join(parts[:end]) in recovered for end in range(1, len(parts) + 1)):
                last[name] = node
    steps: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, node in sorted(last.items(), key=lambda item: item[1].get("finishedAt") or ""):
        *_, task = name.removesuffix(".executor").split(".")  # KFP's template of a task has its container below it
        steps[clean(task)].append(node)
    return [
        Failure(step, _pod_name(workflow, nodes[0]), clean(nodes[0].get("message") or "no message"), len(nodes))
        for step, nodes in steps.items()
    ]


def clean(text: str, *, keep_query: bool = False) -> str:
    """Returns a text as one short line without terminal escapes, other unprintable characters and passwords."""
    text = redact(ESCAPE.sub("", text), keep_query=keep_query)
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 3] + "..."


def _workflow(server: Server, run_id: str) -> tuple[dict[str, Any], list[Failure]]:
    """Returns the Argo workflow of a run and its failed steps; empty if the server has none in a form that is known."""
    runtime = server.get_json(f"/apis/v1beta1/runs/{run_id}").get("pipeline_runtime") or {}
    try:
        workflow = json.loads(runtime.get("workflow_manifest") or runtime.get("pipeline_manifest") or "{}")
        status = workflow.get("status", {})
        if not status.get("nodes") and (packed := status.get("compressedNodes")):
            status["nodes"] = _unpack(packed)
        return workflow, find_failures(workflow)
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}, []


def _unpack(packed: str) -> Any:
    """Returns the nodes of a workflow that is larger than 1 MiB, which Argo packs (packer.go).

    Raises:
        ValueError: They are not in Argo's format, or too long.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(base64.b64decode(packed, validate=True))) as file:
            text = file.read(MAX_NODES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError("expected base64 of gzip") from error
    if len(text) > MAX_NODES:
        raise ValueError(f"expected at most {MAX_NODES} bytes")
    return json.loads(text)


def _pod_name(workflow: dict[str, Any], node: dict[str, Any]) -> str:
    """Returns the name of a node's pod, by the rule of RetrievePodName in KFP's workflow.go."""
    metadata, name = workflow["metadata"], str(workflow["metadata"]["name"])
    if metadata.get("annotations", {}).get(POD_NAMES) == "v1":
        return str(node["id"])
    if node["name"] == name:
        return name
    prefix = name if ".inline" in node["name"] else f"{name}-{node['templateName']}"
    return f"{prefix}-{node['id'].rpartition('-')[2]}"


def _explain(server: Server, run_id: str, workflow: dict[str, Any], failure: Failure) -> list[str]:
    """Returns the line of a failed step and the place of its log."""
    others = f" (the first of {failure.count} tasks that failed)" if failure.count > 1 else ""
    try:
        log, place = _read_log(server, run_id, workflow, failure.pod)
    except OSError as error:
        reason = clean(str(error))
        return [
            f"{failure.step}: {failure.message}{others}",
            f"the log of {failure.step} cannot be read: {reason} (pod {failure.pod})",
        ]
    own = [line for line in map(clean, log.splitlines()) if line.startswith(OWN_LINE)]
    text = own[-1].removeprefix(OWN_LINE) if own else f"{failure.step}: {failure.message}"
    return [f"{text}{others}", f"log of {failure.step}: {place}"]


def _read_log(server: Server, run_id: str, workflow: dict[str, Any], pod: str) -> tuple[str, str]:
    """Returns the end of a pod's log and its address.

    The API server has the log at a path of v1alpha1 alone, which the server of KFP's page does not pass on; that has
    its own path (app.ts). Both ask Kubernetes, then the archive if the pod is gone.

    Raises:
        OSError: Neither has the log. The message is the reason of the API server if it knows the path.
    """
    metadata = workflow["metadata"]
    query = {
        "podname": pod,
        "runid": run_id,
        "podnamespace": str(metadata.get("namespace", "")),
        "createdat": str(metadata.get("creationTimestamp", ""))[:10],
    }
    places: list[tuple[str, dict[str, str]]] = [
        (f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log", {}),
        ("/k8s/pod/logs", query),
    ]
    reasons = []
    for path, fields in places:
        try:
            log = server.read_end(path, fields)
        except OSError as error:
            reasons.append(str(error))
            continue
        if (reason := _log_error(log)) is not None:
            reasons.insert(0, reason)
            continue
        options = "&".join(f"{name}={value}" for name, value in fields.items())
        return log, f"{server.access.url}{path}{'?' if options else ''}{options}"
    raise OSError(reasons[0])


def _log_error(log: str) -> str | None:
    """Returns the message of an error that stands in the place of a log or at its end, or None for a log."""
    start = log.rfind(LOG_ERROR)
    try:
        return None if start < 0 else str(json.loads(log[start:])["error_message"])
    except ValueError:
        return None  # a line of the log looks like it
