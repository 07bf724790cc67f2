"""The pipeline that `submit` sends: compiled from a config, or read from a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipelines.command.options import check_image, note_local_paths, note_registry, resolve_config, run_name
from pipelines.command.stops import MISTAKE, Stop

if TYPE_CHECKING:
    from pipelines.kubeflow.package import Package

VERTEX = (
    "submit does not support Vertex AI. Compile the pipeline, and run the file with PipelineJob of "
    "google-cloud-aiplatform. Received: platform=vertex"
)


def select(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    image: str | None,
    compiled: Path | None,
    pairs: tuple[str, ...],
    name: str | None,
) -> tuple[Package, dict[str, Any], str]:
    """Returns the pipeline, its arguments and the name of the run, from the options."""
    from pipelines.kubeflow.package import Package, check_conflicts
    from pipelines.kubeflow.vertex import PLATFORM_VARIABLE

    check_conflicts(assignments, pairs)
    if compiled is not None:
        typed = click.get_current_context().get_parameter_source("image") is ParameterSource.COMMANDLINE
        if chosen or files or typed:
            what = "--image" if typed else "--preset or --config"
            raise Stop(
                f"config and image of a compiled pipeline are fixed. Received: --pipeline with {what}",
                MISTAKE,
            )
        package = Package.read(compiled)
        if package.variable(PLATFORM_VARIABLE) == "vertex":
            raise Stop(f"{VERTEX}, in the file", MISTAKE)
        arguments = {**package.override(assignments), **package.parse_arguments(pairs)}
        name = name or package.name
        export = {**package.defaults, **arguments}.get("export_settings")
        registered = export.get("registered_model") if isinstance(export, dict) else None
        note_registry(registered, package.variable("MLFLOW_TRACKING_URI"))
    else:
        config = resolve_config(chosen, files, assignments)
        if config.platform.kind == "vertex":
            raise Stop(VERTEX, MISTAKE)
        if image is None:
            raise Stop("expected --image with an image that the cluster can pull. Received: none", MISTAKE)
        note_local_paths(config)
        note_registry(config.export.registered_model, config.platform.mlflow_tracking_uri)
        name = run_name(name, chosen, files, config)
        check_image(image)
        package = _compile(config, image)
        arguments = {**package.defaults, **package.parse_arguments(pairs)}
    package.check(arguments)
    return package, arguments, name


def _compile(config: Any, image: str) -> Package:
    from pipelines.gan_training import compile_pipeline
    from pipelines.kubeflow.package import Package

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_pipeline(config, path, image=image, platform=config.platform)
        return Package.read(path)
