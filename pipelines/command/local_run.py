"""What the commands share that run steps on this machine: options, and what ends them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ganlib.environment import end_on_sigterm
from pipelines.command.stops import FAILURE, MISTAKE, Stop, stop_on_errors

INTERRUPTED = (
    "interrupted; the same command continues: finished steps are kept, and training resumes from its last checkpoint, "
    "if it has written one"
)


def local_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options `--root`, `--runner` and `--image`."""
    options = (
        click.option(
            "--root",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("runs"),
            show_default=True,
            help="Folder of all runs.",
        ),
        click.option(
            "--runner",
            type=click.Choice(["subprocess", "docker"]),
            default="subprocess",
            show_default=True,
            help="Run each step in a local subprocess or in a container.",
        ),
        click.option(
            "--image", help="Container image for --runner docker. Default: the image that `make image` builds."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def local_image(runner: str, image: str | None) -> str | None:
    """Returns the container image; None for subprocesses.

    Raises:
        Stop: An image was given that is of no use.
    """
    if runner == "docker":
        from pipelines.gan_training import DEFAULT_IMAGE

        return image or DEFAULT_IMAGE
    if image is not None:
        raise Stop(f"--image needs --runner docker. Received: --image {image} --runner {runner}", MISTAKE)
    return None


def run_steps(work: Callable[[], Any]) -> Any:
    """Runs a pipeline on this machine and turns errors and interruptions into a `Stop`.

    Args:
        work: Runs it, and returns its result.

    Raises:
        Stop: It failed, or was interrupted.
    """
    with stop_on_errors(needs_train=True, failures=(OSError, RuntimeError)):
        import psutil

        from pipelines.local.session import StepFailed

        def end_steps() -> None:
            for step in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    step.terminate()

        try:
            with end_on_sigterm(cleanup=end_steps):
                return work()
        except KeyboardInterrupt as error:
            raise Stop(INTERRUPTED, FAILURE) from error
        except StepFailed as error:
            raise Stop(str(error), error.code) from error
