"""The options that select a config, and the run name that follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipelines.command.stops import MISTAKE, Stop

# A name with an optional registry, tag and digest.
IMAGE = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9._:/]*(@sha256:[0-9a-f]{64})?")
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
RESERVED = ("mlflow.db", "mlflow-artifacts")  # other content of the folder of all runs, besides files of SQLite


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that select a config."""
    options = (
        click.option(
            "--preset",
            "chosen",
            multiple=True,
            help="Named config to start from; see `gan-pipelines presets`. Can be repeated, for example for data and "
            "a loss. Default: digits, without --config.",
        ),
        click.option(
            "--config",
            "files",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="YAML file with sections of the config, which override the presets. Can be repeated; later files "
            "override earlier ones.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="SECTION.FIELD=VALUE",
            help="Sets one field of the config. Can be repeated.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def local_output(_context: click.Context, _option: click.Parameter, value: str) -> Path:
    """Returns the path of an option for an output on this machine."""
    from ganlib import storage

    if storage.is_remote(value):
        raise Stop(f"expected a place on this machine. Received: output={value!r}", MISTAKE)
    return Path(value).expanduser()


def resolve_config(chosen: tuple[str, ...], files: tuple[Path, ...], assignments: tuple[str, ...]) -> Any:
    """Returns the config from presets, files and single fields."""
    from pipelines import settings

    chosen = chosen if chosen or files else (settings.DEFAULT_PRESET,)
    try:
        return settings.resolve(chosen=chosen, files=files, assignments=assignments)
    except (settings.SettingsError, OSError) as error:
        raise Stop(str(error), MISTAKE) from error


def run_name(name: str | None, chosen: tuple[str, ...], files: tuple[Path, ...], config: Any) -> str:
    """Returns the given name, or one made from the names of presets or file and a hash of the config."""
    from pipelines import settings

    if name is None:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", files[0].stem).strip("-") if files else settings.DEFAULT_PRESET
        title = "-".join(settings.order_presets(chosen, alone=not files)) or plain or "run"
        return f"{title[:100]}-{settings.config_hash(config)}"
    if not RUN_NAME.fullmatch(name) or name.startswith(RESERVED):
        raise Stop(
            "expected a name of at most 120 letters, digits, '.', '_' and '-' that starts with a letter or digit, and "
            f"not with {' or '.join(RESERVED)}. Received: name={name!r}",
            MISTAKE,
        )
    return name


def note_local_paths(config: Any) -> None:
    """Says of each path that is read that it is one in the pods, unless a volume is mounted there."""
    from ganlib import storage

    volume = getattr(config.platform, "data_volume", None)
    for name, location in config.locations.items():
        if volume and Path(location).is_relative_to(config.platform.data_path):
            continue
        if not storage.is_remote(location):
            received = f"{name.rpartition('.')[2]}={location}"
            note = f"{name} is a path in the pods; no local files are uploaded. Received: {received}"
            click.echo(f"note: {note}", err=True)


def note_registry(name: str | None, uri: str | None) -> None:
    """Says that the pods need the address of an MLflow server, if a model is to be registered and there is none.

    Args:
        name: Name of the registered model, if any.
        uri: Address of MLflow in the pods, if any.
    """
    if name is not None and not uri:
        click.echo(
            "note: export.registered_model needs an MLflow server in the pods. Without platform.mlflow_tracking_uri, "
            "the image or KFP's MLflow plugin has to name one",
            err=True,
        )


def check_output(output: Path) -> None:
    """Refuses a file that no pipeline can be written to.

    Raises:
        Stop: The name does not end in .yaml, or the folder does not exist.
    """
    if output.suffix not in (".yaml", ".yml") or output.is_dir():
        raise Stop(f"expected a file name that ends in .yaml. Received: output={str(output)!r}", MISTAKE)
    if not output.parent.is_dir():
        raise Stop(f"expected a file in an existing folder. Received: output={str(output)!r}", MISTAKE)


def check_image(image: str | None) -> None:
    """Refuses an image that no cluster can pull, such as one with a digest that was cut off.

    Raises:
        Stop: It is no name of an image.
    """
    if image is not None and not IMAGE.fullmatch(image):
        raise Stop(
            "expected the name of an image, with a tag or a digest of 64 digits, such as gan@sha256:0123.... "
            f"Received: --image {image!r}",
            MISTAKE,
        )
