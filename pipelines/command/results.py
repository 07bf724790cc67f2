"""Commands on existing images and runs: `score`, `compare` and `sync`."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pipelines.command.stops import FAILURE, MISTAKE, Stop, stop_on_errors

if TYPE_CHECKING:
    from ganlib.scoring import Scoring


@click.command()
@click.argument("generated")
@click.argument("real")
@click.option(
    "--space",
    type=click.Choice(["inception", "squeezenet", "random"]),
    help="Feature space. Default: inception with --weights, otherwise random, which needs no weights. The weights of "
    "inception are downloaded if --weights is not set.",
)
@click.option(
    "--weights",
    help="File with the weights of the network: a path, or a gs://, s3:// or https:// address. FID needs those of the "
    "Inception network of 2015.",
)
@click.option(
    "--resize-mode",
    type=click.Choice(["legacy", "clean"]),
    help="How images are resized to 299x299 for inception: legacy (default), bilinear as in 2015, or clean, bicubic.",
)
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder to write scores.json to."
)
@click.option(
    "--statistics",
    type=click.Path(dir_okay=False, path_type=Path),
    help="npz file to write mean and covariance of the real images to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on the last line.")
def score(
    generated: str,
    real: str,
    space: str | None,
    weights: str | None,
    resize_mode: Literal["legacy", "clean"] | None,
    output: Path | None,
    statistics: Path | None,
    as_json: bool,
) -> None:
    """Scores GENERATED images against REAL images.

    Both are a folder or archive of images, an npz file (uint8 [N, H, W] or [N, H, W, C] under `images`), an idx file,
    or a prepared dataset; append #train or #test to use one split. REAL can also be an npz file with mu and sigma, or
    the folder `reference` of a run, whose feature space is then used.
    """
    kind = space or ("random" if weights is None else "inception")
    if resize_mode is not None and kind != "inception":
        raise Stop(f"--resize-mode needs --space inception. Received: --resize-mode {resize_mode}, {kind}", MISTAKE)
    if kind == "squeezenet" and weights is None:
        raise Stop(f"expected --weights FILE for --space {kind}. Received: no --weights", MISTAKE)
    with stop_on_errors(needs_train=True):
        from ganlib import scoring, storage
        from ganlib.evaluation import Inception, Random, SqueezeNet

        spaces = {
            "inception": Inception(resize_mode=resize_mode or "legacy"),
            "squeezenet": SqueezeNet(),
            "random": Random(),
        }
        file = None if weights is None else storage.fetch(weights)
        result = scoring.score(generated, real, space=spaces[kind], weights=file)
        if output is not None:
            result.save(output)
            click.echo(f"wrote {output / 'scores.json'}")
        if statistics is not None:
            result.second.save(statistics)
            click.echo(f"wrote {statistics}, mean and covariance of {real}")
    click.echo(_table(result))
    if as_json:
        scores = [asdict(item) for item in result.scores]
        click.echo(json.dumps({"scores": scores, "protocol": result.protocol, "notes": result.notes}))


def _table(result: Scoring) -> str:
    """Returns the scores as a table, followed by protocol and notes."""
    rows = [("score", "", "real images"), *((item.name, item.text, item.floor_text) for item in result.scores)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    protocol = [f"  {name}: {value}" for name, value in result.protocol.items()]
    return "\n".join(["", *lines, "", "protocol:", *protocol, *(f"note: {note}" for note in result.notes)])


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def compare(folders: tuple[Path, ...]) -> None:
    """Prints the scores of runs side by side.

    The runs must have been scored in the same way.
    """
    from ganlib.evaluation import Evaluation, comparison

    try:
        paths = [_scores(folder) for folder in folders]
        titles = [folder.absolute().parent.name if folder.name == "scores" else folder.name for folder in folders]
        click.echo(comparison(titles, [Evaluation.open(path) for path in paths]))
    except ValueError as error:
        raise Stop(str(error), MISTAKE) from error


def _scores(folder: Path) -> Path:
    """Returns the folder of the scores: that of a run, or the given one, the output of evaluate_gan."""
    if (folder / "scores").exists():
        return folder / "scores"
    if (folder / "log.txt").exists():
        raise Stop(f"the run has no scores: it has not finished. Received: run={str(folder)!r}", MISTAKE)
    return folder


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--uri", help="Address of the tracking server. Default: MLFLOW_TRACKING_URI.")
def sync(folder: Path, uri: str | None) -> None:
    """Uploads pending records of a run to MLflow.

    A run has pending records if the server was unavailable.
    """
    from ganlib import tracking

    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    with stop_on_errors(needs_train=True):
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            files = [parent / "mlflow.db" for parent in (folder.resolve(), *folder.resolve().parents[:1])]
            local = [shlex.quote(tracking.store_uri(file)) for file in files if file.exists()]
            example = f", such as --uri {local[0]}" if local else ""
            raise ValueError(f"expected --uri or the environment variable MLFLOW_TRACKING_URI{example}")
        tracking.check_address(address)
    try:
        folders = tracking.tracked_folders(folder)
        for tracked in folders:
            click.echo(f"{tracked}: {tracking.deliver(tracked)} records are in MLflow")
    except tracking.DeliveryBlocked as error:
        raise Stop(f"not synced: {error}", FAILURE) from error
    except Exception as error:  # any error of a server becomes one line
        raise Stop(f"not synced: {tracking.error_summary(error)}", FAILURE) from error
    if not folders:
        raise Stop(f"expected the folder of a run. Received: folder={str(folder)!r}", MISTAKE)
