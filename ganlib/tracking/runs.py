"""The MLflow run of a tracked folder: found by what the folder remembers, or created."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib.tracking.folder import EVENT_TAG, Line

with epy.lazy_imports():
    import mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient, entities

KEY_TAG = "gan_pipelines.key"


def forget_events(client: MlflowClient, run: entities.Run, journal: list[Line]) -> None:
    """Removes tags of events that a resumed run has taken back and not met again."""
    told = {name for line in journal if line["do"] == "tags" for name in line["values"]}
    for name in run.data.tags:
        if name.startswith(EVENT_TAG) and name not in told:
            client.delete_tag(run.info.run_id, name)


def run_of(client: MlflowClient, identity: Mapping[str, Any]) -> entities.Run:
    """Returns the run of a folder, created if the server has none."""
    known = identity.get("run_id")
    if known:
        try:
            return client.get_run(known)
        except mlflow.MlflowException as error:
            # Another server than last time gets a run of its own; a run that was given must be there.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" or known == os.environ.get("MLFLOW_RUN_ID"):
                raise
    experiment = _experiment(client, identity["experiment"])
    found = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{identity['key']}'", max_results=1)
    if found:
        return client.get_run(found[0].info.run_id)
    tags, began = {KEY_TAG: identity["key"]}, int(identity["began"] * 1000)
    return client.create_run(experiment, run_name=identity["run_name"], tags=tags, start_time=began)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifacts_beside(mlflow.get_tracking_uri())))
        except mlflow.MlflowException:
            found = client.get_experiment_by_name(name)  # another process may have been faster
            if found is None:
                raise
    return str(found.experiment_id)


def _artifacts_beside(uri: str) -> str | None:
    """Returns where the artifacts of a database file go; MLflow's own choice is the working directory."""
    path = uri.removeprefix("sqlite:///")
    return None if path == uri else Path(path).with_name("mlflow-artifacts").absolute().as_uri()
