"""The MLflow run of a tracked folder: found by what the folder remembers, or created."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib.tracking.address import ARTIFACTS, DeliveryBlocked, store_file
from ganlib.tracking.folder import EVENT_TAG, Line, redact

with epy.lazy_imports():
    import mlflow
    from mlflow import entities

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "gan_pipelines.key"
DELETED = "deleted"  # as MLflow calls this stage of a life
OTHER_NAME = "take another run name"


def remove_event_tags(client: MlflowClient, run: entities.Run, journal: list[Line]) -> None:
    """Removes tags of events that a resumed run has taken back and not met again."""
    told = {name for line in journal if line["do"] == "tags" for name in line["values"]}
    for name in run.data.tags:
        if name.startswith(EVENT_TAG) and name not in told:
            client.delete_tag(run.info.run_id, name)


def find_or_create_run(client: MlflowClient, identity: Mapping[str, Any]) -> entities.Run:
    """Returns the run of a folder, created if the server has none.

    Raises:
        DeliveryBlocked: It was deleted, or its experiment was.
    """
    known = identity.get("run_id")
    if known:
        try:
            return check_run(client, client.get_run(known))
        except mlflow.MlflowException as error:
            # Another server than last time gets a run of its own; a run that was given must be there.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" or known == os.environ.get("MLFLOW_RUN_ID"):
                raise
    experiment = find_or_create_experiment(client, identity["experiment"])
    mine, all_runs = f"tags.`{KEY_TAG}` = '{identity['key']}'", entities.ViewType.ALL
    found = client.search_runs([experiment], mine, run_view_type=all_runs)
    if found:
        first = min(found, key=lambda run: bool(run.info.lifecycle_stage == DELETED))
        return check_run(client, client.get_run(first.info.run_id))
    tags, began = {KEY_TAG: identity["key"]}, int(identity["began"] * 1000)
    return client.create_run(experiment, run_name=identity["run_name"], tags=tags, start_time=began)


def check_run(client: MlflowClient, run: entities.Run) -> entities.Run:
    """Refuses a run that was deleted.

    Raises:
        DeliveryBlocked: It was, or its experiment was.
    """
    if run.info.lifecycle_stage != DELETED:
        return run
    _check_experiment(client, client.get_experiment(run.info.experiment_id))
    restoring = _restoring(client, f"mlflow runs restore --run-id {run.info.run_id}")
    other = "give another in MLFLOW_RUN_ID" if run.info.run_id == os.environ.get("MLFLOW_RUN_ID") else OTHER_NAME
    raise DeliveryBlocked(f"the MLflow run {run.info.run_name!r} was deleted. {restoring}, or {other}")


def find_or_create_experiment(client: MlflowClient, name: str, *, artifacts: Path | None = None) -> str:
    """Returns the id of an experiment, created if the store has none of that name.

    Args:
        client: Client of the store.
        name: Name of the experiment.
        artifacts: Folder of a new experiment's artifacts; absent means beside a database file, and on a server
            where that puts them.

    Raises:
        DeliveryBlocked: It was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        file = store_file(client.tracking_uri)
        if artifacts is None and file is not None:  # MLflow's own choice is the working directory
            artifacts = file.with_name(ARTIFACTS)
        place = None if artifacts is None else artifacts.absolute().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except mlflow.MlflowException:
            found = client.get_experiment_by_name(name)  # another process may have been faster
            if found is None:
                raise
    _check_experiment(client, found)
    return str(found.experiment_id)


def _check_experiment(client: MlflowClient, experiment: entities.Experiment) -> None:
    if experiment.lifecycle_stage == DELETED:
        restoring = _restoring(client, f"mlflow experiments restore --experiment-id {experiment.experiment_id}")
        raise DeliveryBlocked(
            f"the MLflow experiment {experiment.name!r} was deleted. {restoring}, or {OTHER_NAME} and another "
            "experiment in MLFLOW_EXPERIMENT_NAME"
        )


def _restoring(client: MlflowClient, command: str) -> str:
    uri = client.tracking_uri
    address = f"MLFLOW_TRACKING_URI={shlex.quote(uri)} " if uri == redact(uri) else ""  # else it holds a password
    return f"Restore it: {address}{command}"
