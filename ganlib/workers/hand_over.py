"""Hands the work of a step over to a job, and takes its result."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ganlib import storage
from ganlib.environment import end_on_sigterm
from ganlib.steps import MISTAKE
from ganlib.tracking.plugin import CONFIG, CREDENTIALS, keeps_plugin
from ganlib.trained import TrainedModel
from ganlib.training import TrainConfig
from ganlib.training.config import JOB_VARIABLE
from ganlib.workers import follow
from ganlib.workers.api import ApiServer, Object
from ganlib.workers.jobs import APIS, ATTEMPT, JOB_LABEL, Api, Start, create, followed_by
from ganlib.workers.pods import Ending
from ganlib.workers.settings import DATASET, REFERENCE, SECTIONS, TRAINED, Workers, is_in_bucket

# What KFP's own plugin for MLflow may have set for this step. None of these is a secret.
PASSED_ON = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_WORKSPACE",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_ID",
)
# Verbs by API group and resource, besides those on the jobs. Runtimes of the cluster can be read by everyone.
JOB_VERBS = ("create", "get", "patch", "delete")
RIGHTS = {("", "pods"): ("get", "list"), ("", "pods/log"): ("get",)}
RUNTIME_RIGHTS = {(APIS["trainjob"].group, "trainingruntimes"): ("get", "list")}
GONE_SECONDS = 900.0  # to wait for the pods of a job that is deleted, which save a checkpoint


def hand_over(
    sections: Mapping[str, dict[str, Any]], *, job: str, dataset: Path, reference: Path, output: Path
) -> TrainedModel:
    """Trains on several machines: creates the job of the step, or finds it, follows it, and fetches its model.

    The name of the job follows from the run and its home, so a restarted step finds it. It belongs to the pod of the
    step, and Kubernetes deletes it with that. SIGTERM and Ctrl-C delete it at once.

    Args:
        sections: The sections `task`, `model`, `objective` and `training` of the config.
        job: Identifier of the pipeline job; where it is empty, the environment's counts.
        dataset: Folder of the prepared images.
        reference: Folder of the reference.
        output: Folder to create.

    Raises:
        ValueError: The settings are not valid, the cluster lacks something, or the workers reported a mistake.
        RuntimeError: The workers failed or did not start, or this step was asked to end.
        OSError: The API server or the home cannot be reached.
    """
    workers = Workers.from_environment()
    job = job or os.environ.get(JOB_VARIABLE, "")
    config = TrainConfig.model_validate(sections["training"]).of_job(job)
    if config.home is None or (storage.is_remote(config.home) and not is_in_bucket(config.home)):
        raise ValueError(
            "expected a home that all machines reach: platform.checkpoints, or training.home in a bucket, such as "
            f"gs://bucket/home. Received: training.home={config.home or 'null'}"
        )
    place = f"{config.home.rstrip('/')}.workers"
    server = ApiServer()
    _check_cluster(server, APIS[workers.by])
    own = _own_pod(server)
    start = Start(
        name=f"gan-{hashlib.sha256(f'{job} {config.home}'.encode()).hexdigest()[:16]}",
        command=["python3", "-m", "ganlib.workers.worker", place],
        variables=_variables(own),
        account=own["spec"].get("serviceAccountName", "default"),
        follower=(own["metadata"]["name"], own["metadata"]["uid"]),
    )

    def stage() -> None:
        print(f"workers: dataset, reference and settings are copied to {place}", flush=True)
        _stage({**sections, "training": config.to_parameter()}, dataset, reference, place)

    with end_on_sigterm():
        _Job(server, workers, start).run(stage)
    storage.publish(storage.fetch(f"{place}/{TRAINED}"), output)
    return TrainedModel.open(output)


@dataclass(frozen=True)
class _Job:
    """The job of a step, or one after the other where they fail."""

    server: ApiServer
    workers: Workers
    start: Start

    @property
    def api(self) -> Api:
        return APIS[self.workers.by]

    @property
    def path(self) -> str:
        return self.api.path(self.server, self.start.name)

    @property
    def shown(self) -> str:
        return f"{self.api.kind} {self.start.name}"

    def run(self, stage: Callable[[], None]) -> None:
        """Follows the job that an earlier attempt of the step left, or creates one, until one succeeds."""
        try:
            attempt = self._adopt()
            if attempt is None:
                self._remove()
                create(self.workers, self.start, server=self.server, attempt=0, dry_run=True)
                stage()
                attempt = self._create(0)
            while (ending := self._follow()) is not None:
                worker = f"worker {ending.index}: {ending.message}"
                if ending.code == MISTAKE:
                    raise ValueError(worker)
                if attempt >= self.workers.retries:
                    raise RuntimeError(f"{worker} ({self.shown}, {attempt} of {self.workers.retries} retries)")
                print(f"workers: {worker}. Another job resumes from the last checkpoint", flush=True)
                self._remove()
                attempt = self._create(attempt + 1)
        except KeyboardInterrupt:
            self.server.delete(self.path)
            raise RuntimeError(f"interrupted; {self.shown} is deleted, and its workers save a checkpoint") from None

    def _adopt(self) -> int | None:
        """Returns the attempt of the job that an earlier step left, whose pod is still there; None if there is none.

        Kubernetes deletes a job with the last pod that followed it, within seconds or later. KFP deletes the pods of
        failed steps where a user retries a run, so such a run starts anew, while a step that KFP retries goes on.
        """
        found = self.server.get(self.path)
        if found is None or "deletionTimestamp" in found["metadata"]:
            return None
        owners = found["metadata"].get("ownerReferences", [])
        present = [owner for owner in owners if self._exists(owner)]
        if not present:
            return None
        attempt = int(found["metadata"].get("annotations", {}).get(ATTEMPT, 0))
        metadata = followed_by(self.start.follower, attempt=attempt, others=present)
        if self.server.merge(self.path, {"metadata": metadata}) is None:
            return None
        print(f"workers: {self.shown} exists already; this step goes on following it", flush=True)
        return attempt

    def _exists(self, owner: Object) -> bool:
        pod = self.server.get(self.server.path("api/v1", "pods", owner["name"]))
        return pod is not None and pod["metadata"]["uid"] == owner["uid"]

    def _create(self, attempt: int) -> int:
        create(self.workers, self.start, server=self.server, attempt=attempt)
        print(f"workers: {self.shown} is created, {self.workers.count} machines", flush=True)
        return attempt

    def _follow(self) -> Ending | None:
        minutes = self.workers.start_minutes
        follower = follow.Follower(
            self.server, self.api, self.start.name, count=self.workers.count, start_minutes=minutes
        )
        try:
            ending = follower.run()
        except follow.NeverStarted as reason:
            self.server.delete(self.path)
            raise RuntimeError(
                f"expected {self.workers.count} workers to start within platform.workers_start_minutes={minutes}; "
                f"{self.shown} is deleted: {reason}"
            ) from reason
        except OSError as error:
            raise OSError(f"{error}. The workers go on, and a retried step follows them again") from error
        if ending is not None and ending.code == MISTAKE:
            self.server.delete(self.path)  # no restart would help
        return ending

    def _remove(self) -> None:
        """Deletes the job, if there is one, and waits until none of its pods can write to the home."""
        deadline = time.monotonic() + GONE_SECONDS
        self.server.delete(self.path)
        pods, selector = self.server.path("api/v1", "pods"), f"{JOB_LABEL}={self.start.name}"
        while True:
            left = [f"pod {item['metadata']['name']}" for item in self.server.objects(pods, labelSelector=selector)]
            left += [self.shown] if self.server.get(self.path) else []
            if not left:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"expected {self.shown} and its pods to be gone within {GONE_SECONDS / 60:g} minutes. "
                    f"Still there: {', '.join(left)}"
                )
            time.sleep(follow.POLL_SECONDS)


def _check_cluster(server: ApiServer, api: Api) -> None:
    """Refuses a cluster without such jobs, or a service account that may not use them, before any work.

    Raises:
        ValueError: Something is missing.
    """
    known = server.get(f"/apis/{api.group}/{api.version}")
    if known is None or all(item["name"] != api.plural for item in known["resources"]):
        raise ValueError(
            f"expected {api.needs} or newer on the cluster, with {api.plural}.{api.group}/{api.version}. "
            f"Received: platform.workers_by={api.kind.lower()}"
        )
    needed = {(api.group, api.plural): JOB_VERBS, **RIGHTS, **(RUNTIME_RIGHTS if api is APIS["trainjob"] else {})}
    missing = [
        f"{verb} {'.'.join(filter(None, [resource, group]))}"
        for (group, resource), verbs in needed.items()
        for verb in verbs
        if not server.may(verb, group, resource)
    ]
    if missing:
        raise ValueError(
            f"the service account of this pod lacks rights in namespace {server.namespace}, see docs/cluster-jobs.md. "
            f"Expected: {', '.join(missing)}"
        )


def _own_pod(server: ApiServer) -> Object:
    name = os.environ.get("KFP_POD_NAME") or socket.gethostname()
    pod = server.get(server.path("api/v1", "pods", name))
    if pod is None:
        raise ValueError(f"expected the name of this pod, which KFP sets as KFP_POD_NAME. Received: {name}")
    return pod


def _variables(own: Object) -> list[Object]:
    """Returns the variables of MLflow in this step for the workers; credentials are references to Secrets.

    Args:
        own: The pod of the step, where KFP's plugin for MLflow may have set the credentials of its server.
    """
    names = (*PASSED_ON, CONFIG) if keeps_plugin() else PASSED_ON
    variables: list[Object] = [{"name": name, "value": os.environ[name]} for name in names if name in os.environ]
    if keeps_plugin():
        entries = [entry for container in own["spec"]["containers"] for entry in container.get("env", [])]
        found = {entry["name"]: entry for entry in entries if entry["name"] in CREDENTIALS and "valueFrom" in entry}
        variables += found.values()
    return variables


def _stage(sections: Mapping[str, dict[str, Any]], dataset: Path, reference: Path, place: str) -> None:
    """Copies what the workers need to a place that they reach; files that are there are not copied to a bucket again.

    The step's inputs are in its pod only, and their addresses in KFP's store may need KFP's own credentials.
    """
    storage.publish(dataset, f"{place}/{DATASET}")
    storage.publish(reference, f"{place}/{REFERENCE}")
    with TemporaryDirectory() as scratch:
        storage.write_json(Path(scratch) / SECTIONS, sections)
        storage.publish(Path(scratch) / SECTIONS, f"{place}/{SECTIONS}")
