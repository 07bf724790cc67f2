"""Training on data that is in buckets or elsewhere than this process."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ganlib import storage
from ganlib.data import PreparedDataset
from ganlib.evaluation import Reference
from ganlib.models import Architecture
from ganlib.objectives import Objective
from ganlib.tasks import Task
from ganlib.training.config import TrainConfig
from ganlib.training.strategy import resolve_strategy
from ganlib.training.train import train


def train_at(
    dataset: str,
    reference: str,
    output: str,
    *,
    task: Task,
    architecture: Architecture,
    objective: Objective,
    config: TrainConfig,
) -> bool:
    """Trains like `train`, alone or as one of the workers in TF_CONFIG, with folders or addresses in buckets.

    Args:
        dataset: The prepared images.
        reference: Output of measure_reference.
        output: Where the trained model will be.
        task: What is learned.
        architecture: The networks.
        objective: The losses.
        config: The settings of training.

    Returns:
        Whether this process is the chief, which wrote the model.

    Raises:
        ValueError: The inputs do not fit each other.
        OSError: A location cannot be reached.
        RuntimeError: Training failed, or another worker was lost.
    """
    resolve_strategy(config.replicas, config.strategy)  # before anything uses TensorFlow; waits for the others
    with tempfile.TemporaryDirectory(prefix="gan-train-") as scratch:
        folder = Path(scratch) / "trained" if storage.is_remote(output) else Path(output).expanduser()
        model = train(
            PreparedDataset.open(storage.fetch(dataset)),
            Reference.open(storage.fetch(reference)),
            task=task,
            architecture=architecture,
            objective=objective,
            config=config,
            output=folder,
        )
        is_chief = model.folder == folder
        if is_chief and storage.is_remote(output):
            storage.publish(folder, output)
    return is_chief
