"""All scores of one network against its reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etils import epy

from ganlib import streams
from ganlib.data.decoded import DecodedDataset
from ganlib.evaluation.extractors.network import NetworkSettings
from ganlib.evaluation.extremes import Extremes
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.catalogue import CLASS_SAMPLES, memorisation
from ganlib.evaluation.measures.classification_accuracy import classification_accuracy, training_count
from ganlib.evaluation.measures.discriminative import most_separable
from ganlib.evaluation.measures.memorisation import closeness_to_training
from ganlib.evaluation.measures.paired import PairedMeasures
from ganlib.evaluation.measures.shortcuts import Shortcuts
from ganlib.evaluation.notes import (
    note_better_than_real,
    note_few_pairs,
    note_fewer_samples,
    note_scores,
    note_shortcuts,
    note_worse_than_nothing,
)
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.scores import Score, add_baselines, add_floors

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.config import EvaluationConfig
    from ganlib.evaluation.reference import Reference
    from ganlib.tasks import Sampler

    Closeness = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class NetworkScores:
    """The scores of one network, and the samples that they were measured on.

    Attributes:
        scores: The scores, the main one first.
        by_hole: Paired scores by the share of the image that a hole covers, for tasks with holes.
        count: Number of samples.
        images: The first samples, uint8 [N, H, W, C].
        sample: Features of the samples for the scores of classes; the first `count` are those of all others.
        closeness: Closeness of the images to the nearest training image, and the index of that image.
        notes: Notes to consider before the scores are trusted.
        extremes: The samples that are nearest to their true images, and farthest from them, where these are known.
        real: The real images that the samples are compared with.
        shortcuts: Share of the samples that show each sign of a shortcut.
    """

    scores: list[Score]
    by_hole: list[Score]
    count: int
    images: NDArray[np.uint8]
    sample: Sample
    closeness: Closeness | None
    notes: list[str]
    extremes: Extremes
    real: PreparedDataset
    shortcuts: dict[str, float]


@dataclass(frozen=True)
class _Drawn:
    """Samples of a network.

    Attributes:
        images: The first images.
        sample: Features, class probabilities and labels of all images.
        unchanged: Features of what doing nothing would give; None if that has no meaning.
        truths: Batches of the true images of the first samples; empty if they are not known.
        paired: Measures of the images against their true images; without true images, there are no scores.
        shortcuts: Share of the images that show each sign of a shortcut.
        extremes: The images that are nearest to their true images, and farthest from them.
    """

    images: NDArray[np.uint8]
    sample: Sample
    unchanged: Sample | None
    truths: list[NDArray[np.uint8]]
    paired: PairedMeasures
    shortcuts: dict[str, float]
    extremes: Extremes


def score_network(
    sampler: Sampler,
    reference: Reference,
    config: EvaluationConfig,
    *,
    real: PreparedDataset,
    inputs: PreparedDataset,
    label: str = "",
) -> NetworkScores:
    """Scores a network.

    Args:
        sampler: Draws from the network.
        reference: The reference of the real images.
        config: Settings of the scores.
        real: The real images that its samples are compared with.
        inputs: Data whose images its samples are made from, if they are made from images.
        label: Name of the network in notes, for tasks that score several.
    """
    real = DecodedDataset(real)
    count = reference.sample_count(config.samples)
    notes = note_fewer_samples(count, sampler)
    count, class_count = (min(number, sampler.available or number) for number in (count, max(count, CLASS_SAMPLES)))
    limit = min(count, max(catalogue.PAIRWISE_LIMIT, len(reference.test)))
    seed, shortcuts = streams.key("evaluation", config.seed), Shortcuts(inputs, real)
    drawn = _draw(sampler, class_count, reference, shortcuts, seed=seed, limit=limit)
    distances = reference.score(drawn.sample.first(count))
    notes += [*note_better_than_real(distances[0], reference), *drawn.paired.notes()]
    notes += [
        *note_few_pairs(count if drawn.truths else None, reference),
        *note_shortcuts(drawn.shortcuts, label=label),
    ]
    if drawn.unchanged is not None:
        distances = add_baselines(distances, reference.score(drawn.unchanged.first(count)))
    class_scores = reference.class_scores(drawn.sample)
    if drawn.unchanged is not None:
        class_scores = add_baselines(class_scores, reference.class_scores(drawn.unchanged))
    scores = [*distances, *drawn.paired.scores(), *_discriminative(drawn, reference, count), *class_scores]
    closeness = None
    if reference.test_closeness is not None:
        closeness = closeness_to_training(drawn.images, real)
        held_out = reference.test_closeness
        if reference.facts["dataset_sha256"] != real.checksum:  # both must be compared with the same training images
            held_out = closeness_to_training(real.load("test")[0], real)[0]
        scores.append(memorisation(closeness[0], held_out))
    if config.classification_accuracy:
        scores += _measure_accuracy(sampler, real, config)
    by_hole = drawn.paired.scores_by_hole()
    notes += [*note_worse_than_nothing(scores, label=label), *note_scores(scores, drawn.sample, reference)]
    shown = drawn.images, drawn.sample, closeness, notes, drawn.extremes, real, drawn.shortcuts
    return NetworkScores(scores, by_hole, count, *shown)


def rename_for_network(scores: list[Score], network: str) -> list[Score]:
    """Returns scores that have the name of their network in front of their own, for tasks that score several."""
    return [replace(score, name=f"{network}/{score.name}") for score in scores]


def _draw(sampler: Sampler, count: int, reference: Reference, shortcuts: Shortcuts, *, seed: int, limit: int) -> _Drawn:
    """Generates samples, and keeps at most `limit` images in memory."""
    first: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    unchanged: list[NDArray[np.uint8]] = []
    truths: list[NDArray[np.uint8]] = []
    paired, signs = PairedMeasures(), []
    extremes = Extremes("input, output, truth", lower_is_better=False)

    def images() -> Iterator[NDArray[np.uint8]]:
        for samples in sampler.batches(count, seed=seed):
            missing = limit - sum(map(len, first))
            first.extend([samples.images[:missing]] if missing > 0 else [])
            labels.extend([] if samples.labels is None else [samples.labels])
            signs.append(shortcuts.signs(samples))
            unchanged.extend([] if samples.unchanged is None else [samples.unchanged])
            if samples.truths is not None:
                values = paired.add(samples.images, samples.truths, holes=samples.holes, inputs=samples.unchanged)
                measure = "psnr" if samples.holes is None else "psnr_hole"
                extremes.add(measure, values[measure], samples.pictures)
                truths.extend([samples.truths] if sum(map(len, truths)) < catalogue.DISCRIMINATIVE_LIMIT else [])
            yield samples.images

    outputs = reference.extractor.all_outputs(images())
    sample = Sample(*outputs, np.concatenate(labels) if labels else None)
    inputs = Sample(*reference.extractor.all_outputs(unchanged), sample.labels) if unchanged else None
    return _Drawn(np.concatenate(first), sample, inputs, truths, paired, shortcuts.shares(signs), extremes)


def _discriminative(drawn: _Drawn, reference: Reference, count: int) -> list[Score]:
    """Returns how hard the first `count` samples are to tell from their true images, if these are known.

    The floor of the unpaired score is that of training images.
    """
    space = reference.extractor
    if not drawn.truths or count <= most_separable(drawn.sample.features.shape[1]):
        return []
    truths = reference.features(drawn.truths)[: min(count, catalogue.DISCRIMINATIVE_LIMIT)]

    def measure(sample: Sample) -> list[Score]:
        return catalogue.discriminative(sample.features[: len(truths)], truths, space)

    scores = measure(drawn.sample)
    if drawn.unchanged is not None:
        scores = add_baselines(scores, measure(drawn.unchanged))
    if len(reference.train) < len(truths):
        return scores
    unpaired = [score for score in measure(reference.train) if score.name == space.measure("uds")]
    return add_floors(scores, unpaired)


def _measure_accuracy(sampler: Sampler, real: PreparedDataset, config: EvaluationConfig) -> list[Score]:
    """Returns the classification accuracy scores, from images that no other score uses."""
    if not sampler.takes_label:
        raise ValueError(
            "the classification accuracy score needs a generator with classes: expected "
            "task.conditional=true. Received: evaluation.classification_accuracy=True"
        )
    seed = streams.key("classification accuracy", config.seed)
    count = training_count(real)
    count = min(count, sampler.available or count)
    images, labels = _generate(sampler, count, seed=seed)
    if labels is None:
        raise ValueError("expected samples with the requested classes. Received: none")
    network = NetworkSettings()
    return classification_accuracy(images, labels, real, network=network, seed=seed)


def _generate(sampler: Sampler, count: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Returns images and the requested classes; None if the model takes no labels."""
    batches = list(sampler.batches(count, seed=seed))
    labels = [samples.labels for samples in batches if samples.labels is not None]
    return np.concatenate([samples.images for samples in batches]), np.concatenate(labels) if labels else None
