"""The steps of the pipeline as files that other pipelines can take, one KFP component each."""

import hashlib
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.check_inputs import check_inputs
from components.evaluate_gan import evaluate_gan
from components.export_model import export_model
from components.gate_model import gate_model
from components.measure_reference import measure_reference
from components.merge_parts import merge_parts
from components.prepare_data import prepare_data
from components.prepare_part import prepare_part
from components.register_model import register_model
from components.train_gan import train_gan
from ganlib import storage
from ganlib.config import RunConfig
from ganlib.schema import did_you_mean
from pipelines.gan_training import DEFAULT_IMAGE, write_yaml

COMPONENTS = {
    function.__name__: function
    for function in (
        check_inputs,
        prepare_data,
        prepare_part,
        merge_parts,
        measure_reference,
        train_gan,
        evaluate_gan,
        export_model,
        gate_model,
        register_model,
    )
}
ABSENT = "Fields that are not given have the library's defaults."


def compile_component(name: str, output: Path, *, image: str = DEFAULT_IMAGE, config: RunConfig | None = None) -> None:
    """Writes a step as a component, in ASCII YAML. The same config gives the same bytes.

    Args:
        name: Name of the step.
        output: File to write; its name must end in `.yaml`.
        image: Container image of the step, with its digest if results may be cached.
        config: Defaults of the sections that the step takes. None means those of the library, and none for `data`.

    Raises:
        ValueError: There is no such step.
    """
    if name not in COMPONENTS:
        known = ", ".join([*COMPONENTS, "all"])
        raise ValueError(f"expected one of {known}{did_you_mean(name, COMPONENTS)}. Received: component={name!r}")
    # The image has kfp already: without install_kfp_package=False, every pod would run pip.
    component = dsl.component(COMPONENTS[name], base_image=image, install_kfp_package=False)
    _describe_sections(component)
    _set_defaults(component, _defaults(config))
    write_yaml(component, output)


def _defaults(config: RunConfig | None) -> dict[str, Any]:
    """Returns the defaults by parameter."""
    defaults = {"job": "", **(config or RunConfig()).to_parameters()}
    if config is None:
        del defaults["data"]  # the embedded digits; who forgets their own images would train on them
    return defaults


def _describe_sections(component: BaseComponent) -> None:
    """Adds to the description of each section what it may contain."""
    schema = RunConfig.model_json_schema()
    for name, field in schema["properties"].items():
        if name not in component.component_spec.inputs:
            continue
        if "discriminator" in field:
            kinds = ", ".join(field["discriminator"]["mapping"])
            contents = f"Its `kind` is one of {kinds}; `gan-pipelines config` lists the fields of each."
        else:
            fields = ", ".join(schema["$defs"][field["$ref"].rpartition("/")[2]]["properties"])
            contents = f"Its fields are {fields}; `gan-pipelines config` explains them."
        spec = component.component_spec.inputs[name]
        spec.description = f"{spec.description} {contents} {ABSENT}"


def _set_defaults(component: BaseComponent, defaults: dict[str, Any]) -> None:
    """Sets the defaults of the parameters that the component has.

    The key of KFP's cache has neither defaults nor descriptions, only what is passed to the step, and its program.
    Without a comment in the program, a step with new defaults would return the results of the old ones.
    """
    specification = component.component_spec
    own = {name: value for name, value in defaults.items() if name in specification.inputs}
    for name, value in own.items():
        specification.inputs[name].optional = True
        specification.inputs[name].default = value
    digest = hashlib.sha256(storage.canonical_json(own).encode()).hexdigest()
    specification.implementation.container.command[-1] += f"# SHA-256 of the defaults: {digest}\n"
