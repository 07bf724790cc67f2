"""What is fixed when a pipeline is compiled, and what arguments of a run therefore cannot ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ganlib.workers import Workers
from pipelines.kubeflow.config import check_training

if TYPE_CHECKING:
    from ganlib.config import RunConfig

EXPORT, GATE, REGISTER = "comp-export-model", "comp-gate-model", "comp-register-model"
AGAIN = "Compile the pipeline again with this setting"


def check_fixed(config: RunConfig, *, tasks: int | None, workers: Workers | None) -> None:
    """Checks a config against the tasks and the machines of a compiled file.

    Args:
        config: The config.
        tasks: Number of tasks that prepare the images; None if one step does.
        workers: The machines of the training, if there are several.

    Raises:
        ValueError: They do not fit.
    """
    shards = config.data.shards
    if tasks is not None and shards < tasks:
        raise ValueError(
            f"data.shards: expected at least {tasks}, one for each task in the compiled file that prepares images: "
            f"compile it again for fewer. Received: shards={shards}"
        )
    if workers is not None:
        if config.training.home is None:
            raise ValueError(
                "several machines need a home that all of them reach. "
                f"Received: platform.workers={workers.count}, training.home=null"
            )
        check_training(config.training, machines=workers.count, replicas=workers.replicas)


def check_export(arguments: Mapping[str, Any], *, steps: Collection[str]) -> None:
    """Checks that a compiled file has the steps that arguments ask for, and that they have what those steps need.

    Args:
        arguments: Values of the pipeline's parameters.
        steps: Names of its components.

    Raises:
        ValueError: A threshold or a name would have no effect, or a step would fail after the training.
    """
    export = arguments.get("export_settings")
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
