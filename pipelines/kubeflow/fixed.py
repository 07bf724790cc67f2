"""What is fixed when a pipeline is compiled, and what arguments of a run therefore cannot ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganlib.workers import WORKERS_VARIABLE, Workers
from pipelines.kubeflow.config import check_training

if TYPE_CHECKING:
    from ganlib.config import RunConfig
    from pipelines.kubeflow.package import Package

EXPORT, GATE, REGISTER = "comp-export-model", "comp-gate-model", "comp-register-model"
AGAIN = "Compile the pipeline again with this setting"


def check_fixed(package: Package, config: RunConfig) -> None:
    """Checks a config against the tasks and the machines of a compiled file.

    Raises:
        ValueError: They do not fit.
    """
    tasks, shards = package.prepare_tasks, config.data.shards
    if tasks is not None and shards < tasks:
        raise ValueError(
            f"data.shards: expected at least {tasks}, one for each task in the compiled file that prepares images: "
            f"compile it again for fewer. Received: shards={shards}"
        )
    text = package.variable(WORKERS_VARIABLE)
    if text is not None:
        workers = Workers.model_validate_json(text)
        if config.training.home is None:
            raise ValueError(
                "several machines need a home that all of them reach. "
                f"Received: platform.workers={workers.count}, training.home=null"
            )
        check_training(config.training, machines=workers.count, replicas=workers.replicas)


def check_export(package: Package, arguments: Mapping[str, Any]) -> None:
    """Checks that a compiled file has the steps that arguments ask for, and that they have what those steps need.

    Raises:
        ValueError: A threshold or a name would have no effect, or a step would fail after the training.
    """
    steps, export = package.spec["components"], arguments.get("export_settings")
    if EXPORT not in steps or not isinstance(export, Mapping):
        return  # the defaults of the file, or a pipeline of another project
    gate, name = export.get("gate"), export.get("registered_model")
    wrong = ""
    if gate is not None and GATE not in steps:
        wrong = f"export.gate: the compiled file has no step gate_model. {AGAIN}. Received: gate={gate}"
    elif name is not None and REGISTER not in steps:
        wrong = (
            f"export.registered_model: the compiled file has no step register_model. {AGAIN}. Received: "
            f"registered_model={name!r}"
        )
    elif name is None and REGISTER in steps:
        wrong = (
            "export.registered_model: expected a name, since the compiled file has the step register_model. Received: "
            "registered_model=null"
        )
    if wrong:
        raise ValueError(wrong)
