"""The command `train`: only the step train_gan, for jobs whose pods are the workers in TF_CONFIG."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.command.options import config_options, resolve_config
from pipelines.command.stops import stop_on_errors

if TYPE_CHECKING:
    from ganlib.config import RunConfig


@click.command()
@config_options
@click.option("--dataset", required=True, help="Output of prepare_data: a folder, or its address in a bucket.")
@click.option("--reference", required=True, help="Output of measure_reference: a folder, or its address in a bucket.")
@click.option(
    "--output", required=True, help="Folder, or address in a bucket, for the trained model; the chief writes it."
)
def train(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    dataset: str,
    reference: str,
    output: str,
) -> None:
    """Trains on a prepared dataset.

    Trains alone, or as one of the workers in TF_CONFIG. All workers need the same options, and a training.home that all
    of them can reach; a restarted job resumes from there.
    """
    config = resolve_config(chosen, files, assignments)
    with stop_on_errors(needs_train=True, failures=(OSError, RuntimeError)):
        _train(config, dataset, reference, output)


def _train(config: RunConfig, dataset: str, reference: str, output: str) -> None:
    from ganlib import storage, training
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference

    # Before anything uses TensorFlow. Several workers wait here for each other.
    training.resolve_strategy(config.training.replicas, config.training.strategy)
    with tempfile.TemporaryDirectory(prefix="gan-train-") as scratch:
        folder = Path(scratch) / "trained" if storage.is_remote(output) else Path(output).expanduser()
        model = training.train(
            PreparedDataset.open(storage.fetch(dataset)),
            Reference.open(storage.fetch(reference)),
            task=config.task,
            architecture=config.model,
            objective=config.objective,
            config=config.training,
            output=folder,
        )
        if model.folder == folder:  # on the chief
            if storage.is_remote(output):
                storage.publish(folder, output)
            click.echo(f"trained: {output}")
