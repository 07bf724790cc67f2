"""A client of the API server of the cluster that this pod runs in.

Kubernetes' own Python client would do, but these are six requests, and it has no patience with a server that is away.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

Object = dict[str, Any]  # of Kubernetes, as JSON

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes puts a pod's token and namespace
PATIENCE = 600.0  # seconds to wait for a server that does not answer
TIMEOUT = 30.0  # seconds for one answer
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
TOO_MANY, SERVER_ERROR = 429, 500
OK, REFUSED, ABSENT, CONFLICT = 200, 400, 404, 409


class ApiServer:
    """Reads and changes objects in this pod's namespace, with the rights of its service account.

    Requests wait for a server that cannot be reached, or is overloaded, for up to ten minutes. Methods raise ValueError
    if the server refuses a request, and OSError if it does not answer in that time; `log` raises neither.

    Raises:
        ValueError: This process does not run in a pod with a service account.
    """

    def __init__(self) -> None:
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (ACCOUNT / "token").exists():
            raise ValueError(
                "expected a pod with the token of a service account, to create a job of workers. "
                f"Received: KUBERNETES_SERVICE_HOST={host}, no file {ACCOUNT / 'token'}"
            )
        self.namespace = (ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        self._address = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        timeout = urllib3.Timeout(total=TIMEOUT)
        self._pool = urllib3.PoolManager(ca_certs=str(ACCOUNT / "ca.crt"), timeout=timeout, retries=False)

    def path(self, api: str, resource: str, name: str = "") -> str:
        """Returns the path of objects in this namespace, such as `/api/v1/namespaces/team/pods/one`."""
        return "/".join(filter(None, [f"/{api}/namespaces/{self.namespace}", resource, name]))

    def get(self, path: str) -> Object | None:
        """Returns an object, or None if it does not exist."""
        status, text = self._request("GET", path)
        return None if status == ABSENT else self._object("GET", path, status, text)

    def objects(self, path: str, **query: str) -> list[Object]:
        """Returns the objects at a path, such as those with a `labelSelector`; none if the cluster has no such kind."""
        status, text = self._request("GET", path, query=query)
        return [] if status == ABSENT else list(self._object("GET", path, status, text)["items"])

    def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object | None:
        """Creates an object, or returns None if one of this name exists. Fields that are not known are refused.

        Args:
            path: Path of the objects of its kind.
            body: The object.
            dry_run: Only check whether it could be created.
        """
        query = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        status, text = self._request("POST", path, body=body, query=query)
        return None if status == CONFLICT else self._object("POST", path, status, text)

    def merge(self, path: str, body: Object) -> Object | None:
        """Changes fields of an object, or returns None if it does not exist."""
        status, text = self._request("PATCH", path, body=body)
        return None if status == ABSENT else self._object("PATCH", path, status, text)

    def delete(self, path: str, *, seen: Object | None = None) -> bool:
        """Begins to delete an object; it is gone when all that it owns is.

        Args:
            path: Path of the object.
            seen: The object as it was read. If it has changed since then, it stays.

        Returns:
            Whether it is being deleted or gone.
        """
        body: Object = {"propagationPolicy": "Foreground"}
        if seen is not None:
            body["preconditions"] = {name: seen["metadata"][name] for name in ("uid", "resourceVersion")}
        status, text = self._request("DELETE", path, body=body)
        if status == CONFLICT and seen is not None:
            return False
        if status != ABSENT:
            self._object("DELETE", path, status, text)
        return True

    def log(self, pod: str, **query: str) -> list[str]:
        """Returns lines of a pod's log; none if there is no answer now.

        The API server asks the pod's node for them. Its errors may be those of a node that is lost.
        """
        try:
            status, text = self._request("GET", f"{self.path('api/v1', 'pods', pod)}/log", query=query, patience=0)
        except OSError:
            return []
        return text.splitlines() if status == OK else []

    def may(self, verb: str, group: str, resource: str) -> bool:
        """Returns whether the service account has a right, such as to `get` `pods/log`."""
        kind, _, part = resource.partition("/")
        asked = {"namespace": self.namespace, "verb": verb, "group": group, "resource": kind, "subresource": part}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        kinds = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        status, text = self._request("POST", path, body={**kinds, "spec": {"resourceAttributes": asked}})
        return bool(self._object("POST", path, status, text)["status"]["allowed"])

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        patience: float | None = None,
    ) -> tuple[int, str]:
        """Returns status and text of an answer that is not about the server's own troubles."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        limit = PATIENCE if patience is None else patience
        conditional = body is not None and "preconditions" in body
        address = self._address + path + (f"?{urlencode(query)}" if query else "")
        began, pause, away = time.monotonic(), FIRST_PAUSE, False
        while True:
            # Kubernetes replaces the token from time to time.
            token = (ACCOUNT / "token").read_text(encoding="utf-8").strip()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
            try:
                answer = self._pool.request(method, address, body=data, headers=headers)
                status, text = answer.status, answer.data.decode(errors="replace")
                if not _is_transient(status, text) or (conditional and status == CONFLICT):
                    if away:
                        print("workers: the API server answers again", flush=True)
                    return status, text
                problem = f"{status} {_field(text, 'message')}"
            except urllib3.exceptions.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            if time.monotonic() - began >= limit:
                raise OSError(
                    f"the API server of Kubernetes has not answered for {limit / 60:g} minutes: {problem}. "
                    f"Received: {method} {self._address}{path}"
                )
            if not away:
                print(f"workers: the API server does not answer; trying again: {problem}", flush=True)
            away = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _object(self, method: str, path: str, status: int, text: str) -> Object:
        if status >= REFUSED:
            raise ValueError(
                f"the API server of Kubernetes refuses: {_field(text, 'message')} ({status}). Received: {method} {path}"
            )
        found: Object = json.loads(text)
        return found


def _is_transient(status: int, text: str) -> bool:
    """Returns whether the same request may succeed later. A quota that others change too is a conflict for a moment."""
    busy = status == CONFLICT and _field(text, "reason") == "Conflict"
    return busy or status == TOO_MANY or status >= SERVER_ERROR


def _field(text: str, name: str) -> str:
    """Returns `message` or `reason` of an answer that describes an error."""
    try:
        return str(json.loads(text)[name])
    except (ValueError, LookupError, TypeError):
        return " ".join(text.split())[:300]
