"""The command `generate`: images of random latents with an exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ganlib.environment import end_on_sigterm
from pipelines.command.options import local_output
from pipelines.command.stops import FAILURE, Stop, stop_on_errors

LARGEST_SEED = 2**63 - 1


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, callback=local_output, help="Folder for the images.")
@click.option("--count", type=click.IntRange(min=1), default=16, show_default=True, help="Number of images.")
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True, help="Chooses the images.")
@click.option(
    "--label", help="Name or index of the class of all images; a name goes first. Default: the classes take turns."
)
@click.option(
    "--truncation",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest absolute value of the latents, such as 0.7, for more typical but less varied images. Values beyond "
    "are distributed within, as if drawn again.",
)
@click.option("--sheet", is_flag=True, help="Also write up to 100 images side by side as sheet.png.")
@click.option(
    "--interpolate",
    "frames",
    type=click.IntRange(min=1),
    default=None,
    metavar="FRAMES",
    help="Also write an animation with so many frames from each image to the next, and back to the first.",
)
@click.option(
    "--animation",
    type=click.Choice(["gif", "webp"]),
    default="gif",
    show_default=True,
    help="Format of the animation: gif has 256 colours, webp all.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files. Other files in the folder stay.")
def generate(
    model: str,
    output: Path,
    count: int,
    seed: int,
    label: str | None,
    truncation: float | None,
    sheet: bool,
    frames: int | None,
    animation: Literal["gif", "webp"],
    overwrite: bool,
) -> None:
    """Generates images with an exported MODEL, as PNG files with numbers as names.

    The images of a seed are those of the model's own function `generate`.
    """
    with stop_on_errors(needs_train=True, failures=(OSError, RuntimeError)):
        from ganlib import inference

        try:
            with end_on_sigterm():
                result = inference.generate(
                    model,
                    output,
                    count=count,
                    seed=seed,
                    label=label,
                    truncation=truncation,
                    sheet=sheet,
                    frames=frames or 0,
                    animation=animation,
                    overwrite=overwrite,
                )
        except KeyboardInterrupt as error:
            raise Stop(f"interrupted; the images so far are in {output}", FAILURE) from error
    click.echo(f"generate: wrote {result.count} images to {output}")
    for file in filter(None, (result.sheet, result.animation)):
        click.echo(f"generate: wrote {file}")
