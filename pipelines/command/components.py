"""The part of `compile` that writes single steps, for other pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.command.options import note_local_paths
from pipelines.command.stops import MISTAKE, Stop

ALL = "all"


def compile_components(name: str, output: Path, *, image: str, config: Any) -> None:
    """Compiles one step into a file, or all steps into a folder.

    Args:
        name: Name of the step, or `all`.
        output: File to write; for `all`, the folder of the files, which is created.
        image: Container image of the steps.
        config: Defaults of the sections; None means those of the library.

    Raises:
        Stop: There is no such step, or the output is no place for it.
        OSError: A file cannot be written.
    """
    from pipelines.gan_components import COMPONENTS, compile_component
    from pipelines.kubeflow.config import PipelineConfig

    names = list(COMPONENTS) if name == ALL else [name]
    files = [output / f"{one}.yaml" for one in names] if name == ALL else [output]
    if name == ALL:
        if output.is_file():
            raise Stop(f"expected a folder. Received: output={str(output)!r}", MISTAKE)
        output.mkdir(exist_ok=True)
    for one, file in zip(names, files, strict=True):
        compile_component(one, file, image=image, config=config)
        click.echo(f"wrote {file}")
    if config is not None:
        note_local_paths(config)
        if config.platform != PipelineConfig().platform:
            click.echo("note: a component has no settings of pods; the section `platform` is left out", err=True)
