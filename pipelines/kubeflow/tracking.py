"""What KFP's MLflow plugin is told about a run, and what it says of it. The plugin is part of KFP 2.17."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ganlib.tracking import DEFAULT_EXPERIMENT
from ganlib.tracking.plugin import OFF, PLUGIN
from pipelines.kubeflow.failures import clean
from pipelines.kubeflow.package import Package

NAME, EXPERIMENT = "mlflow", "MLFLOW_EXPERIMENT_NAME"


@dataclass(frozen=True)
class Place:
    """Where the run is found in MLflow.

    Attributes:
        address: Address of the server, or of the run.
        experiment: Name of the experiment.
        problem: Why the run is not recorded there; empty if it is.
    """

    address: str
    experiment: str
    problem: str = ""


def plugin_input(package: Package) -> dict[str, dict[str, Any]] | None:
    """Returns the input of the server's plugins for a run; None for a pipeline that is compiled for an older KFP.

    The schema is that of MLflowPluginInput in config.go of the plugin: experiment_name, experiment_id, disabled.
    """
    wanted, experiment = package.variable(PLUGIN), package.variable(EXPERIMENT)
    if wanted is None:
        return None
    if wanted == OFF:
        return {NAME: {"disabled": True}}
    return {NAME: {"experiment_name": experiment}} if experiment else None


def find_place(package: Package, run: dict[str, Any]) -> Place | None:
    """Returns where a run is recorded: on the user's server, or by the plugin. None: in no place that is known.

    Args:
        package: The pipeline.
        run: The answer of the server to the request that has created the run, as JSON.
    """
    own = package.variable("MLFLOW_TRACKING_URI")
    if own is not None:
        return Place(own, package.variable(EXPERIMENT) or DEFAULT_EXPERIMENT)
    output = (run.get("plugins_output") or {}).get(NAME)
    if not output:
        return None
    entries = {name: clean(str(entry.get("value", ""))) for name, entry in (output.get("entries") or {}).items()}
    url = clean(str(((output.get("entries") or {}).get("run_url") or {}).get("value", "")), keep_query=True)
    failed = output.get("state") != "PLUGIN_SUCCEEDED"
    return Place(
        url or f"run {entries.get('root_run_id', '')} of KFP's MLflow plugin",
        entries.get("experiment_name", ""),
        clean(output.get("state_message") or "it gives no reason") if failed else "",
    )
