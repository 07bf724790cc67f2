"""The command `train`: the step train_gan alone, for jobs whose pods are workers that TF_CONFIG names."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.command.options import config_options, resolved
from pipelines.command.stops import for_people

if TYPE_CHECKING:
    from ganlib.config import RunConfig


@click.command()
@config_options
@click.option("--dataset", required=True, help="What prepare_data left behind: a folder or its gs:// address.")
@click.option("--reference", required=True, help="What measure_reference left behind.")
@click.option("--output", required=True, help="Folder or gs:// address of the trained model; the chief writes it.")
def train(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    dataset: str,
    reference: str,
    output: str,
) -> None:
    """Trains on a prepared dataset, alone or as one of the workers that TF_CONFIG names.

    All of them are given the same options, and a training.home that all of them reach: from there a job that is
    started again goes on.
    """
    config = resolved(chosen, files, assignments)
    with for_people(extra=True, failures=(OSError, RuntimeError)):
        _train(config, dataset, reference, output)


def _train(config: RunConfig, dataset: str, reference: str, output: str) -> None:
    from ganlib import storage, training
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference

    # Before anything touches TensorFlow; of several workers each waits here for the others.
    training.resolve_strategy(config.training.replicas, config.training.strategy)
    with tempfile.TemporaryDirectory(prefix="gan-train-") as scratch:
        here = Path(scratch) / "trained" if storage.is_remote(output) else Path(output).expanduser()
        model = training.train(
            PreparedDataset.open(storage.fetch(dataset)),
            Reference.open(storage.fetch(reference)),
            task=config.task,
            architecture=config.model,
            objective=config.objective,
            config=config.training,
            output=here,
        )
        if model.folder == here:  # the chief's
            if storage.is_remote(output):
                storage.publish(here, output)
            click.echo(f"trained: {output}")
