"""The command line. Only here do exceptions become exit codes: 2 for a mistake of the user, 1 for a failure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ganlib import __version__
from pipelines.command.apply import apply
from pipelines.command.compare_variants import compare_variants
from pipelines.command.components import ALL, compile_components
from pipelines.command.demo import demo
from pipelines.command.follow import follow
from pipelines.command.generate import generate
from pipelines.command.local_run import local_image, local_options, run_steps
from pipelines.command.options import (
    check_image,
    check_output,
    config_options,
    note_local_paths,
    note_registry,
    resolve_config,
    run_name,
)
from pipelines.command.preview import describe_images
from pipelines.command.promotion import promote, rollback
from pipelines.command.results import compare, score, sync
from pipelines.command.stops import FAILURE, MISTAKE, Commands, Stop
from pipelines.command.submit import submit
from pipelines.command.train import train


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gan-pipelines")
def main() -> None:
    """Trains, evaluates and exports GANs, on this machine or on Kubeflow."""


@main.command()
@config_options
@click.option("--name", help="Name of the run. Default: name of the preset and a short hash of the settings.")
@local_options
@click.option("--dry-run", is_flag=True, help="Check and print the config and the images, without running anything.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on the last line.")
def run(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    name: str | None,
    root: Path,
    runner: str,
    image: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Runs the whole pipeline on this machine. Repeat the command to resume an interrupted run."""
    try:
        image = local_image(runner, image)
        config = resolve_config(chosen, files, assignments)
        name = run_name(name, chosen, files, config)
        if dry_run:
            sections, lines = config.to_parameters(), describe_images(config)
            click.echo(json.dumps({"run": name, **sections}) if as_json else f"# run: {name}\n{_yaml(sections)}")
            for line in lines:
                click.echo(f"# data: {line}", err=as_json)
            return
        result = run_steps(lambda: _run(config, name, root, image))
    except Stop as stop:
        if as_json:
            click.echo(json.dumps({"run": name, "status": "failed", "error": str(stop)}))
        raise
    click.echo(result.to_text())
    if as_json:
        click.echo(json.dumps(result.to_json()))


def _run(config: Any, name: str, root: Path, image: str | None) -> Any:
    from pipelines.local import runner

    return runner.run(config, name=name, root=root, image=image)


@main.command(name="compile")
@config_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="YAML file to write; with --component all, the folder of the files.",
)
@click.option(
    "--image",
    envvar="GAN_PIPELINES_IMAGE",
    show_envvar=True,
    help="Container image of the steps, best with its digest. Default: the image that `make image` builds.",
)
@click.option(
    "--component",
    metavar="STEP",
    help="Compile one step, such as train_gan, or all of them, as components for other pipelines. The config becomes "
    "the default values of their parameters. Without --preset, --config and --set, these are the library's, and `data` "
    "has none.",
)
def compile_(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    output: Path,
    image: str | None,
    component: str | None,
) -> None:
    """Compiles the pipeline for Kubeflow. The config becomes the default values of its parameters."""
    config = resolve_config(chosen, files, assignments)
    from pipelines.gan_training import DEFAULT_IMAGE, compile_pipeline

    check_image(image)
    if component != ALL:
        check_output(output)
    elif not output.parent.is_dir():
        raise Stop(f"expected a folder in an existing one. Received: output={str(output)!r}", MISTAKE)
    try:
        if component is not None:
            defaults = config if chosen or files or assignments else None
            compile_components(component, output, image=image or DEFAULT_IMAGE, config=defaults)
        else:
            compile_pipeline(config, output, image=image or DEFAULT_IMAGE, platform=config.platform)
            click.echo(f"wrote {output}")
            note_local_paths(config)
            note_registry(config.export.registered_model, config.platform.mlflow_tracking_uri)
    except ValueError as error:
        raise Stop(str(error), MISTAKE) from error
    except OSError as error:
        raise Stop(f"cannot write {output}: {error.strerror}", FAILURE) from error
    if not image:
        click.echo(
            f"note: the image is {DEFAULT_IMAGE} of this machine; for a cluster, set --image to one that it can pull"
        )


@main.command()
@click.option("--schema", is_flag=True, help="Print the JSON Schema instead.")
def config(schema: bool) -> None:
    """Prints the fields of the config.

    Each with its type, default and description.
    """
    from pipelines.kubeflow.config import PipelineConfig

    if schema:
        click.echo(json.dumps(PipelineConfig.model_json_schema(), indent=2))
        return
    rows = list(_fields(PipelineConfig.model_json_schema()))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *cells, description in rows:
        click.echo("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), description]))


@main.command()
def presets() -> None:
    """Lists the presets.

    Those of kind loss have an example command with its time and score.
    """
    import yaml

    from pipelines import settings

    rows = []
    for name, text in settings.presets().items():
        header = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
        comments = [line.removeprefix("#").strip() for line in header]
        title = f"{settings.preset_kind(yaml.safe_load(text)):<6}  {name:<16} "
        rows.append(title + f"\n{' ' * len(title)}".join(comments))
    click.echo("\n".join(sorted(rows)))


for command in (
    apply,
    compare,
    compare_variants,
    demo,
    follow,
    generate,
    promote,
    rollback,
    score,
    submit,
    sync,
    train,
):
    main.add_command(command)


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(values, sort_keys=False)).rstrip()


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yields path, type, default and description of each field of a JSON Schema, nested fields after their parent."""
    definitions = schema["$defs"]

    def variants(field: dict[str, Any]) -> list[dict[str, Any]]:
        options = field.get("oneOf", field.get("anyOf", [field]))
        nested = [variant for option in options if option is not field for variant in variants(option)]
        own = [definitions[field["$ref"].rpartition("/")[2]]] if "$ref" in field else []
        return own + nested

    def walk(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
        for name, field in node["properties"].items():
            nested = variants(field)
            if name != "kind":
                description = " ".join(field.get("description", "").split())
                yield f"{prefix}{name}", _type(field, nested), _default(field), description
            for variant in nested:
                kind = variant["properties"].get("kind", {}).get("const")
                inner = f"{prefix}{name}." if kind is None or len(nested) == 1 else f"{prefix}{name}[{kind}]."
                yield from walk(variant, inner)

    yield from walk(schema, "")


def _type(field: dict[str, Any], nested: list[dict[str, Any]]) -> str:
    kinds = [variant["properties"]["kind"]["const"] for variant in nested if "kind" in variant["properties"]]
    if kinds or nested:
        return " | ".join(kinds) or "section"
    if field.get("type") == "array":
        item = field["prefixItems"][0] if "prefixItems" in field else field["items"]  # of a fixed number, or of any
        return f"list of {_type(item, [])}"
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    options = field.get("anyOf", [field])
    return " | ".join(" | ".join(option.get("enum", [option.get("type", "section")])) for option in options)


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "required"
    default = field["default"]
    if isinstance(default, dict):
        return str(default.get("kind", "" if default else "{}"))
    return json.dumps(default)
