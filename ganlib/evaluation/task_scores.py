"""The scores of all networks of a task, each against its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganlib.evaluation.cycle_scores import cycle_scores
from ganlib.evaluation.network_scores import rename_for_network, score_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.extremes import Extremes
    from ganlib.evaluation.network_scores import NetworkScores
    from ganlib.evaluation.reference import Reference
    from ganlib.evaluation.scores import Score
    from ganlib.tasks import Sampler, Task


@dataclass(frozen=True)
class TaskScores:
    """The scores of a task.

    Attributes:
        parts: What was measured of each network.
        scores: All scores, those of the first network first, with the names of networks if there are several.
        protocol: Facts that must be equal before two scores are compared.
        extremes: The best and the worst samples of each network.
    """

    parts: dict[str, NetworkScores]
    scores: list[Score]
    protocol: dict[str, Any]
    extremes: dict[str, Extremes]


def score_task(
    task: Task,
    samplers: Mapping[str, Sampler],
    dataset: PreparedDataset,
    reference: Reference,
    config: EvaluationConfig,
) -> TaskScores:
    """Scores the networks of a task.

    Args:
        task: The task.
        samplers: Draw from each of its networks.
        dataset: The prepared images.
        reference: The real images to compare generated ones with.
        config: Number of samples, generator and other settings.
    """
    names = task.scored
    parts = {
        name: score_network(
            samplers[name],
            reference.of(name),
            config,
            real=task.real(dataset, name),
            inputs=task.held_out(dataset, name),
            label=name if len(names) > 1 else "",
        )
        for name in names
    }
    extremes = {name: part.extremes for name, part in parts.items()}
    for name in names:
        if (inverse := task.inverse(name)) is not None:
            inputs, real = task.held_out(dataset, name), parts[name].real
            further, cycles = cycle_scores(
                samplers[name], samplers[inverse], inputs=inputs, real=real, seed=config.seed
            )
            parts[name].scores.extend(further)
            extremes[name] = extremes[name] or cycles  # where no true images are known
    scores = parts[names[0]].scores
    if len(names) > 1:
        scores = [score for name, part in parts.items() for score in rename_for_network(part.scores, name)]
    return TaskScores(parts, scores, _protocol(task, parts, dataset, reference, config), extremes)


def _protocol(
    task: Task,
    parts: Mapping[str, NetworkScores],
    dataset: PreparedDataset,
    reference: Reference,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Returns the protocol of the first network, with what is different for the others."""
    first, *others = parts
    protocol = reference.protocol(count=parts[first].count, generator=config.generator, averaged=True, seed=config.seed)
    protocol |= {"class_samples": len(parts[first].sample), **task.protocol(dataset, first)}
    for name in others:
        other = reference.of(name).protocol(count=parts[name].count, generator="", averaged=True, seed=config.seed)
        other |= task.protocol(dataset, name)
        different = {key: value for key, value in other.items() if key != "generator" and protocol[key] != value}
        protocol |= {f"{name}/{key}": value for key, value in different.items()}
    return protocol
