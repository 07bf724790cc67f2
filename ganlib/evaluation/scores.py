"""Scores: what the measures say of generated images beside real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation import density_coverage, kernel, precision_recall

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.evaluation.reference import Reference

CLASS_SAMPLES = 1000
FARTHEST_NEIGHBOUR = max(precision_recall.NEIGHBOUR, density_coverage.NEIGHBOUR)
NEIGHBOUR_MEASURES = {
    precision_recall.precision_recall: {
        "precision": "share of generated images that lie among the real ones",
        "recall": "share of real images that lie among the generated ones",
    },
    density_coverage.density_coverage: {
        "density": "how densely generated images lie among the real ones",
        "coverage": "share of real images with a generated one nearby",
    },
}
SURE = 0.9


@dataclass(frozen=True)
class Score:
    """One measure of the generated images.

    Attributes:
        name: Measure and feature space.
        value: Of the generated images.
        floor: Of as many real images, or None where that says nothing.
        meaning: What it tells, in a sentence.
        error: Standard error of the value, or None where none is known.
        floor_error: Standard error of the floor, likewise.
    """

    name: str
    value: float
    floor: float | None
    meaning: str
    error: float | None = None
    floor_error: float | None = None

    @property
    def text(self) -> str:
        """The value to a few digits, with its error."""
        return _text(self.value, self.error)

    @property
    def floor_text(self) -> str:
        """The floor to a few digits, with its error; empty where there is none."""
        return "" if self.floor is None else _text(self.floor, self.floor_error)


def agreement(probabilities: NDArray[np.float32], asked: NDArray[np.int64] | None, reference: Reference) -> list[Score]:
    """How often the classifier sees the class that was asked for, where one was.

    Args:
        probabilities: The classifier's of generated images, [N, K].
        asked: Classes [N] that were asked for, or None.
        reference: The classifier, and how often it is right on real images.
    """
    if asked is None or not reference.extractor.classes:
        return []
    agreed = float((probabilities.argmax(axis=1) == asked).mean())
    meaning = f"share of {len(asked)} images in which the classifier sees the class that was asked for"
    return [Score(f"{reference.extractor.name}_agreement", agreed, reference.extractor.facts["test_accuracy"], meaning)]


def distance(features: NDArray[np.float32], reference: Reference) -> Score:
    """The Frechet distance of generated images' features [N, D] to all real training images'."""
    count, real = len(features), reference.statistics.count
    meaning = f"Frechet distance of {count} images to {real} real training images; lower is better"
    return Score(reference.measure, reference.distance_of(features), reference.floor(count), meaning)


def pairwise_count(generated: int, reference: Reference) -> int:
    """Images on each side of the measures that compare single ones."""
    return min(generated, len(reference.train_features), len(reference.test_features))


def pairwise(features: NDArray[np.float32], reference: Reference) -> list[Score]:
    """What the measures say that compare single images, of generated ones' features [N, D].

    Real training images stand on the other side; held-out real ones in the place of the generated ones give the floors.
    A measure that needs more images than there are is left out.
    """
    count = pairwise_count(len(features), reference)
    real, name = reference.train_features[:count], reference.extractor.name
    samples = [features[:count], reference.test_features[:count]]
    counts = f"{count} images beside {count} real training images"
    scores = []
    if count >= kernel.FEWEST:
        (value, error), (floor, floor_error) = (kernel.kernel_distance(sample, real) for sample in samples)
        meaning = f"kernel distance, {counts}; lower is better, as low as the floor at best"
        scores.append(Score(f"kd_{name}", value, floor, meaning, error, floor_error))
    if count <= FARTHEST_NEIGHBOUR:
        return scores
    for measure, meanings in NEIGHBOUR_MEASURES.items():
        found = (measure(sample, real) for sample in samples)
        for (word, meaning), value, floor in zip(meanings.items(), *found, strict=True):
            scores.append(Score(f"{word}_{name}", value, floor, f"{meaning}, {counts}; higher is better"))
    return scores


def class_scores(generated: NDArray[np.float32], dataset: PreparedDataset, reference: Reference) -> list[Score]:
    """What the classifier's probabilities [N, K] say, where the feature space is a classifier of the data's classes."""
    if not reference.extractor.classes:
        return []
    _, real = reference.extractor.all_outputs(images for images, _ in dataset.read("test"))
    name, classes = reference.extractor.name, len(reference.extractor.classes)
    return [
        Score(
            f"{name}_classes_seen",
            float(len(np.unique(generated.argmax(axis=1)))),
            float(classes),
            f"classes among the classifier's answers to {len(generated)} images; fewer than {classes} is mode collapse",
        ),
        Score(
            f"{name}_sure_share",
            float((generated.max(axis=1) >= SURE).mean()),
            float((real.max(axis=1) >= SURE).mean()),
            f"share of images for which the classifier is at least {SURE} sure of its answer",
        ),
    ]


def _text(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {float(f'{error:.2g}'):g}"
