"""The command line. It alone turns an exception into an exit code: 2 for a user's mistake, 1 for a failure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ganlib import __version__
from pipelines.command.options import config_options, resolved, run_name
from pipelines.command.preview import described
from pipelines.command.results import compare, deliver, score
from pipelines.command.stops import FAILURE, MISTAKE, Commands, Stop, ended_like_ctrl_c, for_people
from pipelines.command.submit import submit
from pipelines.command.train import train


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gan-pipelines")
def main() -> None:
    """Trains, judges and ships GANs, on this machine or on Kubeflow."""


@main.command()
@config_options
@click.option("--name", help="Name of the run; absent means the preset's with a few digits for the settings.")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"), show_default=True)
@click.option(
    "--runner",
    type=click.Choice(["subprocess", "docker"]),
    default="subprocess",
    show_default=True,
    help="What each step runs in: a process of this installation, or a container.",
)
@click.option("--image", help="Image of the containers, if it is not the one that `make image` builds.")
@click.option("--dry-run", is_flag=True, help="Check and print the config, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
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
    """Runs the whole pipeline on this machine; the same command again resumes it."""
    try:
        image = _image(runner, image)
        config = resolved(chosen, files, assignments)
        name = run_name(name, chosen, files, config)
        if dry_run:
            shown = config.to_parameters()
            click.echo(json.dumps({"run": name, **shown}) if as_json else f"# run: {name}\n{_yaml(shown)}")
            for line in described(config):
                click.echo(f"# data: {line}", err=as_json)
            return
        result = _run(config, name, root, image)
    except Stop as stop:
        if as_json:
            click.echo(json.dumps({"run": name, "status": "failed", "error": str(stop)}))
        raise
    click.echo(result.to_text())
    if as_json:
        click.echo(json.dumps(result.to_json()))


def _image(runner: str, image: str | None) -> str | None:
    """Returns the image that the steps run in, if they run in containers."""
    if runner == "docker":
        from pipelines.gan_training import DEFAULT_IMAGE

        return image or DEFAULT_IMAGE
    if image is not None:
        raise Stop(f"an image belongs to --runner docker. Received: --image {image} --runner {runner}", MISTAKE)
    return None


def _run(config: Any, name: str, root: Path, image: str | None) -> Any:
    """Runs, and turns what ends the run into a `Stop`."""
    from pipelines.local import runner

    def end_steps() -> None:
        for step in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                step.terminate()

    with for_people(extra=True, failures=(OSError, RuntimeError)):
        import psutil

        try:
            with ended_like_ctrl_c(first=end_steps):
                return runner.run(config, name=name, root=root, image=image)
        except KeyboardInterrupt as error:
            raise Stop("interrupted; the same command again goes on from the last checkpoint", FAILURE) from error
        except runner.StepFailed as error:
            raise Stop(str(error), error.code) from error


@main.command(name="compile")
@config_options
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="YAML to write.")
@click.option(
    "--image",
    envvar="GAN_PIPELINES_IMAGE",
    show_envvar=True,
    help="Container image of the steps, best named by its digest; absent means that of this machine.",
)
def compile_(
    chosen: tuple[str, ...], files: tuple[Path, ...], assignments: tuple[str, ...], output: Path, image: str | None
) -> None:
    """Compiles the pipeline for Kubeflow, with the config as its default parameters."""
    config = resolved(chosen, files, assignments)
    from pipelines.gan_training import DEFAULT_IMAGE, compile_pipeline

    if output.suffix not in (".yaml", ".yml"):
        raise Stop(f"expected a file name that ends in .yaml. Received: output={str(output)!r}", MISTAKE)
    try:
        compile_pipeline(config, output, image=image or DEFAULT_IMAGE, platform=config.platform)
    except OSError as error:
        raise Stop(f"cannot write {output}: {error.strerror}", FAILURE) from error
    click.echo(f"wrote {output}")
    if not image:
        click.echo(f"note: its image is this machine's {DEFAULT_IMAGE}; a cluster needs --image, one that it can fetch")


@main.command()
@click.option("--schema", is_flag=True, help="Print the JSON Schema instead.")
def config(schema: bool) -> None:
    """Prints every field of the config with its type, default and meaning."""
    from pipelines.kubeflow.platform import PipelineConfig

    if schema:
        click.echo(json.dumps(PipelineConfig.model_json_schema(), indent=2))
        return
    rows = list(_fields(PipelineConfig.model_json_schema()))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *cells, meaning in rows:
        click.echo("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), meaning]))


@main.command()
def presets() -> None:
    """Lists the presets with what each is and, of the games, a command with its time and score."""
    import yaml

    from pipelines import settings

    rows = []
    for name, text in settings.presets().items():
        head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
        comments = [line.removeprefix("#").strip() for line in head]
        start = f"{settings.preset_kind(yaml.safe_load(text)):<6}  {name:<16} "
        rows.append(start + f"\n{' ' * len(start)}".join(comments))
    click.echo("\n".join(sorted(rows)))


for command in (compare, deliver, score, submit, train):
    main.add_command(command)


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(values, sort_keys=False)).rstrip()


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yields path, type, default and meaning of every field of a JSON Schema, nested ones after their owner."""
    definitions = schema["$defs"]

    def variants(field: dict[str, Any]) -> list[dict[str, Any]]:
        options = field.get("oneOf", field.get("anyOf", [field]))
        nested = [variant for option in options if option is not field for variant in variants(option)]
        own = [definitions[field["$ref"].rpartition("/")[2]]] if "$ref" in field else []
        return own + nested

    def walk(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
        for name, field in node["properties"].items():
            below = variants(field)
            if name != "kind":
                meaning = " ".join(field.get("description", "").split())
                yield f"{prefix}{name}", _kind(field, below), _default(field), meaning
            for variant in below:
                word = variant["properties"].get("kind", {}).get("const")
                inner = f"{prefix}{name}." if word is None or len(below) == 1 else f"{prefix}{name}[{word}]."
                yield from walk(variant, inner)

    yield from walk(schema, "")


def _kind(field: dict[str, Any], below: list[dict[str, Any]]) -> str:
    words = [variant["properties"]["kind"]["const"] for variant in below if "kind" in variant["properties"]]
    if words or below:
        return " | ".join(words) or "section"
    if field.get("type") == "array":
        return f"list of {_kind(field['items'], [])}"
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
