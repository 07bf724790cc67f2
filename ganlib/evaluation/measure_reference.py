"""The pipeline step `measure_reference`: the feature space of a dataset, and the features of its images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import storage
from ganlib.data.decoded import DecodedDataset
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation.config import EvaluationConfig
from ganlib.evaluation.extractors import FittedExtractor
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.memorisation import OTHERS, closeness_to_training
from ganlib.evaluation.notes import note_reference
from ganlib.evaluation.reference import Reference
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.statistics import Statistics
from ganlib.runtime import without_autograph

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset
    from ganlib.tasks import Task


@escape_output()
@standard_keras()
@without_autograph
def measure_reference(
    dataset: PreparedDataset, config: EvaluationConfig, output: Path, *, task: Task | None = None
) -> Reference:
    """Builds the feature space of a dataset and computes the features of its images.

    Args:
        dataset: Prepared real images.
        config: Feature space and other settings.
        output: Folder to create; it is written atomically.
        task: Chooses the real images that samples are compared with; None means all images. If it scores several
            networks, each has a reference of its own.

    Returns:
        The reference, as `Reference.open(output)` would return it.
    """
    names = () if task is None else task.scored
    real = [dataset] if task is None else [task.real(dataset, name) for name in names]
    reference, *others = (_measure(part, config) for part in real)
    reference.others.update(zip(names[1:], others, strict=True))
    with storage.atomic_folder(output) as folder:
        reference.save(folder)
    return reference


def _measure(dataset: PreparedDataset, config: EvaluationConfig) -> Reference:
    """Returns the reference of the images that one network is compared with."""
    dataset = DecodedDataset(dataset)
    weights = None if config.inception_weights is None else storage.fetch(config.inception_weights)
    settings = config.space(labelled=sum(share > 0 for share in dataset.class_shares) > 1)
    extractor = settings.fit(dataset, seed=config.seed, weights=weights)
    test_images, test_labels = dataset.load("test")
    test = Sample(*extractor.all_outputs([test_images]), test_labels if dataset.classes else None)
    statistics, train, train_statistics = _measure_real(extractor, dataset, test, config)
    facts = {
        "dataset": dataset.name,
        "dataset_sha256": dataset.checksum,
        "reference_split": config.reference_split,
        "reference_count": statistics.count,
        "resize": dataset.manifest["preparation"]["resize"],
        "size": "x".join(map(str, dataset.image_shape[:2])),
    }
    closeness = closeness_to_training(test_images, dataset)[0] if dataset.count("train") > OTHERS else None
    reference = Reference(extractor, statistics, train, test, facts, closeness, train_statistics=train_statistics)
    count = reference.sample_count(config.samples)
    floor_count = reference.floor_count(count)
    reference.known_floors[floor_count] = reference.floors(floor_count)
    accuracy = extractor.facts.get("test_accuracy")
    learned = "" if accuracy is None else f"test accuracy {accuracy:.4f}, "
    floor = f"floor {reference.floor(floor_count):.4f} ({floor_count} real images)"
    print(f"{reference.measure}: {learned}{floor}", flush=True)
    for note in note_reference(reference, count):
        print(f"note: {note}", flush=True)
    return reference


def _measure_real(
    extractor: FittedExtractor, dataset: PreparedDataset, test: Sample, config: EvaluationConfig
) -> tuple[Statistics, Sample, Statistics | None]:
    """Returns the attributes `statistics`, `train` and `train_statistics` of a reference."""
    space = catalogue.identity(extractor)
    labels: list[NDArray[np.int64]] = []
    if config.reference_split == "test":  # the training images are needed only for the floors
        limit = max(catalogue.PAIRWISE_LIMIT, config.samples or 0)
        batches = itertools.islice(_training_features(extractor, dataset, labels), -(-limit // extractor.batch))
        train = _first(list(batches), labels, limit=limit, labelled=bool(dataset.classes))
        return replace(Statistics.of([test.features]), space=space), train, None
    first: list[NDArray[np.float32]] = []

    def features() -> Iterator[NDArray[np.float32]]:
        for batch in _training_features(extractor, dataset, labels):
            if sum(map(len, first)) < catalogue.PAIRWISE_LIMIT:
                first.append(batch)
            yield batch

    statistics = replace(Statistics.of(features()), space=space)
    train = _first(first, labels, limit=catalogue.PAIRWISE_LIMIT, labelled=bool(dataset.classes))
    if config.reference_split == "train":
        return statistics, train, None
    return statistics.merge(Statistics.of([test.features])), train, statistics


def _training_features(
    extractor: FittedExtractor, dataset: PreparedDataset, labels: list[NDArray[np.int64]]
) -> Iterator[NDArray[np.float32]]:
    """Yields features [n, D] of the training images, and appends the labels of all images that were read."""

    def images() -> Iterator[NDArray[np.uint8]]:
        for batch, batch_labels in dataset.read("train"):
            labels.append(batch_labels)
            yield batch

    return (features for features, _ in extractor.outputs(images()))


def _first(
    features: list[NDArray[np.float32]], labels: list[NDArray[np.int64]], *, limit: int, labelled: bool
) -> Sample:
    """Returns at most `limit` training images; the preparation has shuffled them."""
    rows = np.concatenate(features)[:limit]
    return Sample(rows, None, np.concatenate(labels)[: len(rows)] if labelled else None)
