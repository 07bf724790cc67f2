"""The verb `measure_reference`: the feature space of a data set, and its real images in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import storage
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation.config import EvaluationConfig
from ganlib.evaluation.extractors import FittedExtractor
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.memorisation import OTHERS, closeness_to_training
from ganlib.evaluation.reference import Reference
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.statistics import Statistics
from ganlib.runtime import without_autograph

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.base import Split
    from ganlib.data.records import PreparedDataset
    from ganlib.tasks import Task


@escape_output()
@standard_keras()
@without_autograph
def measure_reference(
    dataset: PreparedDataset, config: EvaluationConfig, output: Path, *, task: Task | None = None
) -> Reference:
    """Makes the feature space of a dataset and measures its real images in it.

    Args:
        dataset: Prepared real images.
        config: Which space.
        output: Folder to create; it appears whole or not at all.
        task: Chooses the real images that samples are compared with; absent means all of the data set.

    Returns:
        The reference, as `Reference.open(output)` would give it.
    """
    dataset = dataset if task is None else task.real(dataset)
    weights = None if config.inception_weights is None else storage.fetch(config.inception_weights)
    chosen = config.space(labelled=len(dataset.classes) > 1)
    extractor = chosen.fit(dataset, seed=config.seed, weights=weights)
    test = Sample(*extractor.all_outputs(images for images, _ in dataset.read("test")), _labels(dataset, "test"))
    statistics, train, apart = _real_images(extractor, dataset, test, config)
    facts = {
        "dataset": dataset.name,
        "dataset_sha256": dataset.checksum,
        "reference_split": config.reference_split,
        "reference_count": statistics.count,
        "resize": dataset.manifest["preparation"]["resize"],
        "size": "x".join(map(str, dataset.image_shape[:2])),
    }
    enough = dataset.count("train") > OTHERS
    near = closeness_to_training(dataset.load("test")[0], dataset)[0] if enough else None
    reference = Reference(extractor, statistics, train, test, facts, near, apart=apart)
    count = reference.sample_count(config.samples)
    few = reference.floor_count(count)
    reference.known_floors[few] = reference.floors(few)
    with storage.atomic_folder(output) as folder:
        reference.save(folder)
    accuracy = extractor.facts.get("test_accuracy")
    told = "" if accuracy is None else f"test accuracy {accuracy:.4f}, "
    print(f"{reference.measure}: {told}floor {reference.floor(few):.4f} ({few} real images)", flush=True)
    for remark in reference.remarks(count):
        print(f"note: {remark}", flush=True)
    return reference


def _real_images(
    extractor: FittedExtractor, dataset: PreparedDataset, test: Sample, config: EvaluationConfig
) -> tuple[Statistics, Sample, Statistics | None]:
    """Returns what `Reference` has as `statistics`, `train` and `apart`."""
    space = catalogue.identity(extractor)
    if config.reference_split == "test":  # the training images are only for the floors
        most = max(catalogue.PAIRWISE_LIMIT, config.samples or 0)
        batches = itertools.islice(_training_features(extractor, dataset), -(-most // extractor.batch))
        train = _first(list(batches), most, dataset)
        return replace(Statistics.of([test.features]), space=space), train, None
    kept: list[NDArray[np.float32]] = []

    def seen() -> Iterator[NDArray[np.float32]]:
        for features in _training_features(extractor, dataset):
            if sum(map(len, kept)) < catalogue.PAIRWISE_LIMIT:
                kept.append(features)
            yield features

    statistics = replace(Statistics.of(seen()), space=space)
    train = _first(kept, catalogue.PAIRWISE_LIMIT, dataset)
    if config.reference_split == "train":
        return statistics, train, None
    return statistics.merge(Statistics.of([test.features])), train, statistics


def _training_features(extractor: FittedExtractor, dataset: PreparedDataset) -> Iterator[NDArray[np.float32]]:
    return (features for features, _ in extractor.outputs(images for images, _ in dataset.read("train")))


def _first(kept: list[NDArray[np.float32]], most: int, dataset: PreparedDataset) -> Sample:
    """Returns the first training images, which the preparation has shuffled."""
    features, labels = np.concatenate(kept)[:most], _labels(dataset, "train")
    return Sample(features, None, None if labels is None else labels[: len(features)])


def _labels(dataset: PreparedDataset, split: Split) -> NDArray[np.int64] | None:
    return np.concatenate([labels for _, labels in dataset.read(split)]) if dataset.classes else None
