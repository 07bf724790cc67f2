"""The command `apply`: translates or restores pictures with an exported model."""

from __future__ import annotations

from pathlib import Path

import click

from ganlib.environment import end_on_sigterm
from pipelines.command.options import local_output
from pipelines.command.stops import FAILURE, Stop, stop_on_errors


@click.command()
@click.argument("model")
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    required=True,
    callback=local_output,
    help="Folder for the results; for a single picture also a file that ends in .png.",
)
@click.option(
    "--signature", help="Function of the model, such as translate_backward. Default: translate, or else restore."
)
@click.option(
    "--masks",
    help="Folder, archive or file of masks, white where a picture is to be repaired, each with the name of its picture "
    "and the suffix of any image. Default: what is transparent, if the function takes masks.",
)
@click.option(
    "--tile",
    type=click.IntRange(min=0),
    help="Largest side of the overlapping tiles in pixels, 0 for the whole picture at once. Default: 512, or the size "
    "that the model takes.",
)
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    help="Pixels that neighbouring tiles share, at most half a tile. Default: what the model asks for.",
)
@click.option(
    "--value-range",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Values of all pictures that become 0 and 255. Default: 0 255, and for more than 8 bits the usual range that "
    "contains them.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files. Other files in the folder stay.")
def apply(
    model: str,
    source: str,
    output: Path,
    signature: str | None,
    masks: str | None,
    tile: int | None,
    overlap: int | None,
    value_range: tuple[float, float] | None,
    overwrite: bool,
) -> None:
    """Translates or restores the pictures of INPUT with an exported MODEL.

    INPUT is a picture, a folder, a zip or tar file, or an address in a bucket. Each result has the size and
    the name of its picture, is a PNG file, which loses nothing, and keeps the colour profile, but no other metadata.
    Large pictures are made from overlapping tiles. A model that normalises over the whole picture, as networks with
    instance norm do, gives each tile colours of its own, which may show as areas of different colour; and a hole that
    leads from tile to tile may be repaired differently by two of them. Larger tiles with more overlap soften that;
    --tile 0 avoids it if there is enough memory.

    A picture that cannot be read is reported, and the others are made; the exit code is then 1.
    """
    with stop_on_errors(needs_train=True, failures=(OSError, RuntimeError)):
        from ganlib import inference

        try:
            with end_on_sigterm():
                result = inference.apply(
                    model,
                    source,
                    output,
                    function=signature,
                    masks=masks,
                    tile=tile,
                    overlap=overlap,
                    value_range=value_range,
                    overwrite=overwrite,
                )
        except KeyboardInterrupt as error:
            raise Stop(f"interrupted; the results so far are in {output}", FAILURE) from error
    total = result.written + len(result.failed)
    click.echo(f"apply: wrote {result.written} of {total} pictures to {output}")
    if result.failed:
        raise Stop(f"{len(result.failed)} of {total} pictures failed, such as {next(iter(result.failed))}", FAILURE)
