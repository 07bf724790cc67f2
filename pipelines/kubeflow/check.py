"""Checks access and rights on a KFP server, without creating anything there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.kubeflow.failures import clean
from pipelines.kubeflow.kubernetes import BACKENDS
from pipelines.kubeflow.server import Refused, Server, Unavailable

# `AuthorizeRequest` of the API (auth.proto of KFP 2.14 to 2.17) knows only viewers, and Kubernetes is not asked.
RIGHTS = "KFP's API cannot be asked without creating something"


@dataclass(frozen=True)
class Check:
    """One line of the checks.

    Attributes:
        name: What is checked.
        verdict: "unknown" for what the API cannot be asked.
        text: What was found.
        mistake: Whether the user can mend a failure, and not only the server.
    """

    name: str
    verdict: Literal["ok", "failed", "unknown"]
    text: str
    mistake: bool = False


def run_checks(server: Server, *, experiment: str, backend: str | None) -> Iterator[Check]:
    """Yields the checks in their order. It ends early if the server cannot be reached or does not know the user.

    Args:
        server: Client of the server.
        experiment: Name of the experiment for runs.
        backend: Version of KFP that the pipeline is compiled for; None for a compiled file, which does not tell.
    """
    namespace = server.access.namespace
    try:
        health = server.get_json("/apis/v2beta1/healthz")
    except (Refused, Unavailable) as error:
        yield Check("server", "failed", str(error), isinstance(error, Refused))
        return
    # The API server answers itself inside a cluster, and through the page's server elsewhere (handlers/healthz.ts).
    version = clean(str(health.get("tag_name") or health.get("apiServerTagName") or "unknown"))
    users = "several users" if health.get("multi_user") or health.get("apiServerMultiUser") else "one user"
    yield Check("server", "ok", f"{server.access.url} answers for {users}")
    yield _check_version(version, backend)
    place = f"namespace {namespace}" if namespace else "no namespace"
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("credentials", lambda: _see_runs(server, place)),
        ("experiment", lambda: _see_experiment(server, experiment)),
    )
    for name, look in checks:
        try:
            yield Check(name, "ok", look())
        except (Refused, Unavailable) as error:
            yield Check(name, "failed", str(error), isinstance(error, Refused))
            return
    yield Check("may create", "unknown", RIGHTS)


def _see_runs(server: Server, place: str) -> str:
    server.list_runs()
    return f"accepted, and runs can be seen with {place}"


def _see_experiment(server: Server, name: str) -> str:
    return f"{name} exists" if server.find_experiment(name) else f"{name} would be created"


def _check_version(version: str, backend: str | None) -> Check:
    """Compares the server's version with `platform.backend`."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers is None:
        return Check("version", "unknown", f"the server does not tell its version. Received: {version}")
    if backend is None:
        return Check("version", "ok", f"KFP {version}")
    found, wanted = ((int(numbers[1]), int(numbers[2])), tuple(map(int, backend.split("."))))
    if found < wanted:
        text = f"KFP {version} is older than platform.backend={backend}, and may refuse the run"
        return Check("version", "failed", text, mistake=True)
    newest = ".".join(map(str, found))
    advice = f"; platform.backend={newest} is possible" if found > wanted and newest in BACKENDS else ""
    return Check("version", "ok", f"KFP {version}, and platform.backend={backend}{advice}")
