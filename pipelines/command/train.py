"""The command `train`: only the step train_gan, for jobs whose pods are the workers in TF_CONFIG."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.command.options import config_options, resolve_config
from pipelines.command.stops import stop_on_errors


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
        from ganlib.training import train_at

        is_chief = train_at(
            dataset,
            reference,
            output,
            task=config.task,
            architecture=config.model,
            objective=config.objective,
            config=config.training,
        )
    if is_chief:
        click.echo(f"trained: {output}")
