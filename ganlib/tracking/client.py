"""The client of the MLflow server or store that the environment names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from etils import epy

from ganlib.tracking.address import ARTIFACTS, check_address, store_file
from ganlib.tracking.store import create_database

with epy.lazy_imports():
    import mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The client must not repeat requests: if `create_run` is slow, that would create a second run, while `Delivery` first
# asks what exists. It must not print a run's address either, because it may contain a password.
CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def connect() -> MlflowClient:
    """Returns a client, and creates the database of a local store if need be.

    Raises:
        DeliveryBlocked: The address is not one that MLflow can log to.
        RuntimeError: The database is not a store that this MLflow can use.
    """
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    uri = mlflow.get_tracking_uri()
    check_address(uri)
    file = store_file(uri)
    if file is not None:
        create_database(file, artifacts=file.with_name(ARTIFACTS))
    return mlflow.MlflowClient(uri)
