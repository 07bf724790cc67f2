"""What a pod or notebook in a cluster knows about KFP, by the rules of `kfp.Client`."""

from __future__ import annotations

import json
import os
from pathlib import Path

# Names and paths of kfp.client: a change there is a change here.
ENDPOINT_VARIABLE = "KF_PIPELINES_ENDPOINT"
TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105  # the name of a variable
TOKEN_FILE = Path("/var/run/secrets/kubeflow/pipelines/token")
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SERVICE = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
CONTEXT = ".config/kfp/context.json"  # in the home of the user
CLUSTER_VARIABLE = "KUBERNETES_SERVICE_HOST"  # Kubernetes sets it in all containers


def find_host() -> tuple[str, str] | None:
    """Returns the address of KFP and where it was found, or None outside a cluster."""
    if endpoint := os.environ.get(ENDPOINT_VARIABLE):
        return endpoint, ENDPOINT_VARIABLE
    return (SERVICE, "the service in the cluster") if os.environ.get(CLUSTER_VARIABLE) else None


def find_token_file() -> Path | None:
    """Returns the file of the token that Kubernetes projects for KFP, if there is one."""
    path = Path(os.environ.get(TOKEN_VARIABLE) or TOKEN_FILE)
    return path if path.is_file() else None


def find_namespace() -> tuple[str, str] | None:
    """Returns the user's namespace and where it was found: the context of `kfp.Client`, or the service account."""
    context = Path.home() / CONTEXT
    try:
        if name := json.loads(context.read_text(encoding="utf-8")).get("namespace"):
            return str(name), f"~/{CONTEXT}"
    except (OSError, ValueError, AttributeError):
        pass  # most users have no context, and a broken one is kfp.Client's
    try:
        name = NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return (name, "the service account") if name else None
