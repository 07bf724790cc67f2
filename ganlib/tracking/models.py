"""Models of MLflow: a folder that is uploaded once for each model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib.tracking.folder import HISTORY, IDENTITY, JOURNAL

with epy.lazy_imports():
    from mlflow import entities

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_TAG = "gan_pipelines.model_sha256"
MODEL_NAME = "generator"
MODEL_TYPE = "gan"
OWN_FILES = (HISTORY, JOURNAL, IDENTITY, ".delivery")  # of the tracking, and no part of the model


def find_model(client: MlflowClient, run: entities.Run, digest: str) -> entities.LoggedModel | None:
    """Returns the complete model of a run that has a digest, and removes those that a killed process left behind."""
    found = None
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"):
        if model.tags.get(MODEL_TAG) == digest:
            if model.status == entities.LoggedModelStatus.READY:
                found = found or model
            else:
                client.delete_logged_model(model.model_id)
    return found


def log_model(
    client: MlflowClient,
    run: entities.Run,
    folder: Path,
    *,
    digest: str,
    step: int,
    params: Mapping[str, str],
    scores: Sequence[str],
) -> entities.LoggedModel:
    """Uploads a folder as the model of a run, unless the run has it.

    Args:
        client: Client of the server.
        run: The run that the model came from.
        folder: The folder; what tracking keeps in it is left out.
        digest: Identifies the model.
        step: Step of the training that the model is from.
        params: Settings of the model, which MLflow's page shows.
        scores: Names of the run's metrics at this step that are scores of the model.
    """
    known = find_model(client, run, digest)
    if known is not None:
        return known
    # Created explicitly, because `log_model` of a flavor would need an active run, and would end it as FINISHED.
    model = client.create_logged_model(
        run.info.experiment_id, MODEL_NAME, run.info.run_id, {MODEL_TAG: digest}, dict(params), MODEL_TYPE
    )
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "model"
        shutil.copytree(folder, copy, ignore=lambda place, _: OWN_FILES if Path(place) == folder else ())
        client.log_model_artifacts(model.model_id, str(copy))
    _link_scores(client, run.info.run_id, model.model_id, scores, step=step)
    client.log_outputs(run.info.run_id, [entities.LoggedModelOutput(model.model_id, step)])
    return client.finalize_logged_model(model.model_id, "READY")


def _link_scores(client: MlflowClient, run_id: str, model_id: str, names: Sequence[str], *, step: int) -> None:
    """Connects points of a run with its model and its data. Equal points are one for MLflow, so none is added."""
    used = client.get_run(run_id).inputs.dataset_inputs
    data = {"dataset_name": used[0].dataset.name, "dataset_digest": used[0].dataset.digest} if used else {}
    points = [
        entities.Metric(name, point.value, point.timestamp, step, model_id=model_id, run_id=run_id, **data)
        for name in names
        for point in client.get_metric_history(run_id, name)[-1:]
        if point.step == step
    ]
    client.log_batch(run_id, metrics=points, synchronous=True)
