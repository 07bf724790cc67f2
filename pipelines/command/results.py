"""The commands that look at what is there: scores of images, scores of runs side by side, and what MLflow missed."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pipelines.command.stops import FAILURE, MISTAKE, Stop, for_people

if TYPE_CHECKING:
    from ganlib.scoring import Scoring


@click.command()
@click.argument("first")
@click.argument("second")
@click.option(
    "--space",
    type=click.Choice(["inception", "squeezenet", "random"]),
    help="Feature space; absent means inception with --weights, and random, which needs none, without. The weights of "
    "inception are downloaded unless given.",
)
@click.option(
    "--weights",
    help="File of the network's weights: a path, gs:// or https:// address. FID is defined by the Inception network's "
    "of 2015.",
)
@click.option(
    "--resize-mode",
    type=click.Choice(["legacy", "clean"]),
    help="How images reach the Inception network's 299x299: bilinear as in 2015 (legacy, default), or bicubic.",
)
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for scores.json.")
@click.option(
    "--statistics",
    type=click.Path(dir_okay=False, path_type=Path),
    help="npz file to write the second's mean and covariance to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def score(
    first: str,
    second: str,
    space: str | None,
    weights: str | None,
    resize_mode: Literal["legacy", "clean"] | None,
    output: Path | None,
    statistics: Path | None,
    as_json: bool,
) -> None:
    """Scores images FIRST, the generated ones, against images SECOND, the real ones.

    Each is a folder, an archive, an npz file (uint8 [N, H, W] or [N, H, W, C] under `images`) or idx file of images, or
    a prepared data set; #train or #test behind the path means one split. SECOND may also be an npz file of mu and
    sigma, or the folder `reference` of a run, whose own feature space is then used.
    """
    word = space or ("random" if weights is None else "inception")
    if resize_mode is not None and word != "inception":
        raise Stop(
            f"a resize mode belongs to the space inception. Received: --resize-mode {resize_mode}, {word}", MISTAKE
        )
    if word == "squeezenet" and weights is None:
        raise Stop(f"expected --weights FILE, the network's weights, beside --space {word}. Received: none", MISTAKE)
    with for_people(extra=True):
        from ganlib import scoring, storage
        from ganlib.evaluation import Inception, Random, SqueezeNet

        spaces = {
            "inception": Inception(resize_mode=resize_mode or "legacy"),
            "squeezenet": SqueezeNet(),
            "random": Random(),
        }
        place = None if weights is None else storage.fetch(weights)
        found = scoring.score(first, second, space=spaces[word], weights=place)
        if output is not None:
            found.save(output)
            click.echo(f"wrote {output / 'scores.json'}")
        if statistics is not None:
            found.second.save(statistics)
            click.echo(f"wrote {statistics}, mean and covariance of {second}")
    click.echo(_text(found))
    if as_json:
        scores = [asdict(item) for item in found.scores]
        click.echo(json.dumps({"scores": scores, "protocol": found.protocol, "notes": found.notes}))


def _text(found: Scoring) -> str:
    """Returns the scores as a table, with their protocol and notes below."""
    rows = [("score", "", "real images"), *((item.name, item.text, item.floor_text) for item in found.scores)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    protocol = [f"  {name}: {value}" for name, value in found.protocol.items()]
    return "\n".join(["", *lines, "", "protocol:", *protocol, *(f"note: {note}" for note in found.notes)])


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def compare(folders: tuple[Path, ...]) -> None:
    """Puts the scores of runs beside each other, if they were measured alike."""
    from ganlib.evaluation import Evaluation, comparison

    try:
        # A run's folder, or what the step that scores left.
        places = [folder / "scores" if (folder / "scores").exists() else folder for folder in folders]
        titles = [folder.absolute().parent.name if folder.name == "scores" else folder.name for folder in folders]
        click.echo(comparison(titles, [Evaluation.open(place) for place in places]))
    except ValueError as error:
        raise Stop(str(error), MISTAKE) from error


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--uri", help="Tracking server; absent means MLFLOW_TRACKING_URI.")
def deliver(folder: Path, uri: str | None) -> None:
    """Brings to MLflow what could not be delivered while a run was going on."""
    from ganlib import tracking

    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    with for_people(extra=True):
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            places = [place / "mlflow.db" for place in (folder.resolve(), *folder.resolve().parents[:1])]
            found = [shlex.quote(tracking.store_uri(place)) for place in places if place.exists()]
            such = f", such as --uri {found[0]}" if found else ""
            raise ValueError(f"expected --uri or the environment variable MLFLOW_TRACKING_URI{such}")
        tracking.check_address(address)
    try:
        folders = tracking.tracked_folders(folder)
        for tracked in folders:
            click.echo(f"{tracked}: {tracking.deliver(tracked)} lines are in MLflow")
    except tracking.DeliveryBlocked as error:
        raise Stop(f"not delivered: {error}", FAILURE) from error
    except Exception as error:  # whatever a server says becomes one line
        raise Stop(f"not delivered: {tracking.error_summary(error)}", FAILURE) from error
    if not folders:
        raise Stop(f"expected a folder of a run. Received: folder={str(folder)!r}", MISTAKE)
