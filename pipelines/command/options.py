"""The options that choose a config, and the name that a run gets from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipelines.command.stops import MISTAKE, Stop

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
TAKEN = ("mlflow.db", "mlflow-artifacts")  # what else lies in the folder of all runs, with SQLite's own files beside


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that choose a config."""
    options = (
        click.option(
            "--preset",
            "chosen",
            multiple=True,
            help="Named config to start from, digits if there is no --config; may be repeated: data, then a game. "
            "`gan-pipelines presets` lists them.",
        ),
        click.option(
            "--config",
            "files",
            multiple=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="YAML file with sections, put over the preset; may be repeated, later ones over earlier ones.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="SECTION.FIELD=VALUE",
            help="Sets one field; may be repeated.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def resolved(chosen: tuple[str, ...], files: tuple[Path, ...], assignments: tuple[str, ...]) -> Any:
    """Returns the config of presets, a file and single fields."""
    from pipelines import settings

    chosen = chosen if chosen or files else (settings.DEFAULT_PRESET,)
    try:
        return settings.resolve(chosen=chosen, files=files, assignments=assignments)
    except (settings.SettingsError, OSError) as error:
        raise Stop(str(error), MISTAKE) from error


def run_name(name: str | None, chosen: tuple[str, ...], files: tuple[Path, ...], config: Any) -> str:
    """Returns the given name, or one that tells where the config came from and what it says."""
    from pipelines import settings

    if name is None:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", files[0].stem).strip("-") if files else settings.DEFAULT_PRESET
        title = "-".join(settings.ordered(chosen, alone=not files)) or plain or "run"
        return f"{title[:100]}-{settings.digest(config)}"
    if not RUN_NAME.fullmatch(name) or name.startswith(TAKEN):
        wanted = "a name of at most 120 letters, digits, '.', '_' and '-' that does not begin with a sign"
        raise Stop(f"expected {wanted}, nor with {' or '.join(TAKEN)}. Received: name={name!r}", MISTAKE)
    return name
