"""Scores of an exported model under the protocol of another model: with its data, reference and settings."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import tracking
from ganlib.environment import standard_keras
from ganlib.evaluation.evaluate import Evaluation
from ganlib.evaluation.measures.memorisation import MEASURE
from ganlib.evaluation.task_scores import score_task
from ganlib.runtime import without_autograph
from ganlib.schema import parse
from ganlib.tasks import AnyTask, Sampler

with epy.lazy_imports():
    import keras

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.reference import Reference
    from ganlib.tasks import Task
    from ganlib.trained import TrainedModel


@standard_keras()
@without_autograph
def rescore(
    folder: Path,
    facts: Mapping[str, Any],
    model: TrainedModel,
    dataset: PreparedDataset,
    reference: Reference,
    config: EvaluationConfig,
) -> Evaluation:
    """Scores exported networks as another model was scored.

    Memorisation is left out if they were trained on other images than those of the dataset: it could not be measured.

    Args:
        folder: Folder with a Keras file for each network.
        facts: What is known of the networks: `task`, `networks`, `classes`, `image_shape`, `dataset_sha256`,
            `generator`.
        model: The other model, which has made the samples to compare with.
        dataset: The images that it was trained on.
        reference: The reference that it was scored with.
        config: The settings that it was scored with.

    Returns:
        The scores, whose folder is that of the networks.

    Raises:
        ValueError: The networks do something else: their task, classes or images differ.
    """
    task = _task(facts, model)
    samplers = {name: _sampler(folder, name, task, model, dataset) for name in task.scored}
    scored = score_task(task, samplers, dataset, reference, config)
    notes, scores = [], scored.scores
    if facts["dataset_sha256"] != dataset.checksum:
        scores = [score for score in scores if not score.name.endswith(MEASURE)]
        notes.append(
            f"It was trained on other images, {facts['dataset']}, which may contain some of those that it is compared "
            "with; how many training images it repeats cannot be measured."
        )
    return Evaluation(folder, tuple(scores), scored.protocol, tuple(notes), dict(facts["generator"]))


def _task(facts: Mapping[str, Any], model: TrainedModel) -> Task:
    """Returns the task that makes the inputs: the networks' own latents, or the damage and the images of today."""
    same = {"task": model.task.kind, "image_shape": list(model.image_shape), "networks": list(model.networks)}
    if model.task.takes_label or facts["task"].get("task.conditional"):
        same["classes"] = list(model.classes)
    own = {**facts, "task": facts["task"]["task.kind"]}
    if different := [f"{name}={own[name]} and {value}" for name, value in same.items() if own[name] != value]:
        raise ValueError(f"expected networks for the same work. Received: {'; '.join(different)}")
    if model.task.samples_from == "images":
        return model.task
    settings = {name.removeprefix("task."): value for name, value in facts["task"].items()}
    task: Task = parse(AnyTask, settings)
    return task


def _sampler(folder: Path, name: str, task: Task, model: TrainedModel, dataset: PreparedDataset) -> Sampler:
    file = folder / f"{name}.keras"
    try:
        network = keras.models.load_model(file, compile=False)
    except (ValueError, LookupError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"expected the whole Keras file of a generator. Received: path={str(file)!r} "
            f"({tracking.error_summary(error)})"
        ) from error
    return Sampler(task, network, shares=model.shares, image_shape=model.image_shape, held_out=dataset, name=name)
