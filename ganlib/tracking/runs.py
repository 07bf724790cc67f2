"""Finds or creates the MLflow run of a tracked folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
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
PARENT_TAG = "mlflow.parentRunId"  # MLflow's own
DELETED = "deleted"  # MLflow's name of this lifecycle stage
OTHER_NAME = "take another run name"


def remove_event_tags(client: MlflowClient, run: entities.Run, journal: list[Line]) -> None:
    """Removes tags of events that are no longer in the journal, because the run resumed from an earlier step."""
    tags = {name for line in journal if line["do"] == "tags" for name in line["values"]}
    for name in run.data.tags:
        if name.startswith(EVENT_TAG) and name not in tags:
            client.delete_tag(run.info.run_id, name)


def find_or_create_run(client: MlflowClient, identity: Mapping[str, Any]) -> entities.Run:
    """Returns the run of a folder, and creates it if the server does not have it.

    Raises:
        DeliveryBlocked: The run or its experiment was deleted.
    """
    known = identity.get("run_id")
    if known:
        try:
            return check_run(client, client.get_run(known))
        except mlflow.MlflowException as error:
            # A different server than last time gets a new run, but a run given by the user must exist.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST" or known == os.environ.get("MLFLOW_RUN_ID"):
                raise
    experiment = find_or_create_experiment(client, identity["experiment"])
    runs = _find_runs(client, experiment, identity["key"])
    if runs:
        _adopt(client, experiment, runs)
        return check_run(client, client.get_run(runs[0].info.run_id))
    tags, began = {KEY_TAG: identity["key"]}, int(identity["began"] * 1000)
    if "group" in identity:
        tags[PARENT_TAG] = _find_or_create_group(client, experiment, identity["group"], began=began)
    return client.create_run(experiment, run_name=identity["run_name"], tags=tags, start_time=began)


def _find_or_create_group(client: MlflowClient, experiment: str, group: Mapping[str, str], *, began: int) -> str:
    """Returns the id of the run that a group of runs is nested in."""
    if not _find_runs(client, experiment, group["key"]):
        client.create_run(experiment, run_name=group["name"], tags={KEY_TAG: group["key"]}, start_time=began)
    runs = _find_runs(client, experiment, group["key"])
    _adopt(client, experiment, runs)
    return str(runs[0].info.run_id)


def _find_runs(client: MlflowClient, experiment: str, key: str) -> list[entities.Run]:
    """Returns the runs with a key, the one that counts first: the oldest, or a deleted one if there is no other."""
    query, all_runs = f"tags.`{KEY_TAG}` = '{key}'", entities.ViewType.ALL
    runs = client.search_runs([experiment], query, run_view_type=all_runs)
    return sorted(runs, key=lambda run: (run.info.lifecycle_stage == DELETED, run.info.start_time, run.info.run_id))


def _adopt(client: MlflowClient, experiment: str, runs: Sequence[entities.Run]) -> None:
    """Moves what is nested in other runs of a group to the first one, and deletes those.

    Members that start at the same time may each create the run of the group, which no server prevents. All of them
    agree on the first one as soon as they see all, at the latest when the group's own run is recorded.
    """
    first, *others = runs
    for other in others:
        for nested in client.search_runs([experiment], f"tags.`{PARENT_TAG}` = '{other.info.run_id}'"):
            client.set_tag(nested.info.run_id, PARENT_TAG, first.info.run_id)
        if other.info.lifecycle_stage != DELETED and first.info.lifecycle_stage != DELETED:
            client.delete_run(other.info.run_id)


def check_run(client: MlflowClient, run: entities.Run) -> entities.Run:
    """Returns a run after checking that it was not deleted.

    Raises:
        DeliveryBlocked: The run or its experiment was deleted.
    """
    if run.info.lifecycle_stage != DELETED:
        return run
    _check_experiment(client, client.get_experiment(run.info.experiment_id))
    advice = _restore_advice(client, f"mlflow runs restore --run-id {run.info.run_id}")
    other = "give another in MLFLOW_RUN_ID" if run.info.run_id == os.environ.get("MLFLOW_RUN_ID") else OTHER_NAME
    raise DeliveryBlocked(f"the MLflow run {run.info.run_name!r} was deleted. {advice}, or {other}")


def find_or_create_experiment(client: MlflowClient, name: str, *, artifacts: Path | None = None) -> str:
    """Returns the id of an experiment, and creates it if the store does not have it.

    Args:
        client: Client of the store.
        name: Name of the experiment.
        artifacts: Folder for the artifacts of a new experiment. Default: beside a database file; for a server, the
            server's own default.

    Raises:
        DeliveryBlocked: The experiment was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        file = store_file(client.tracking_uri)
        if artifacts is None and file is not None:  # MLflow's default is the working directory
            artifacts = file.with_name(ARTIFACTS)
        place = None if artifacts is None else artifacts.absolute().as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except mlflow.MlflowException:
            experiment = client.get_experiment_by_name(name)  # another process may have been faster
            if experiment is None:
                raise
    _check_experiment(client, experiment)
    return str(experiment.experiment_id)


def _check_experiment(client: MlflowClient, experiment: entities.Experiment) -> None:
    if experiment.lifecycle_stage == DELETED:
        advice = _restore_advice(client, f"mlflow experiments restore --experiment-id {experiment.experiment_id}")
        raise DeliveryBlocked(
            f"the MLflow experiment {experiment.name!r} was deleted. {advice}, or {OTHER_NAME} and another "
            "experiment in MLFLOW_EXPERIMENT_NAME"
        )


def _restore_advice(client: MlflowClient, command: str) -> str:
    uri = client.tracking_uri
    address = (
        f"MLFLOW_TRACKING_URI={shlex.quote(uri)} " if uri == redact(uri) else ""
    )  # otherwise it contains a password
    return f"Restore it: {address}{command}"
