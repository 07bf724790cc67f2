"""Scores of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures.frechet import frechet_distance
from ganlib.evaluation.measures.precision_recall import NEIGHBOUR, precision_recall
from ganlib.evaluation.statistics import Statistics

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.evaluation.reference import Reference
    from ganlib.evaluation.sample import Sample

FEWEST = NEIGHBOUR + 1


@dataclass(frozen=True)
class ClassScores:
    """Scores of the images of one class; None if there are too few images.

    Attributes:
        name: The class.
        count: Number of generated images of the class.
        real: Number of real images of the class, from the reference split, that they are compared with. The reference
            stores 10,000 training images of all classes together, so for a large dataset these are not all.
        measured: Number of generated images used for the distance: at most the number of held-out images of the class.
        agreement: Share of the generated images for which the classifier predicts the class, if it was requested.
        distance: Frechet distance of the `measured` generated images to the real ones.
        floor: Frechet distance of the same number of held-out real images to other real images of the class.
        precision: Share of generated images among the real ones, for the same number of each.
        recall: Share of real images among the generated ones, for the same number of each.
    """

    name: str
    count: int
    real: int
    measured: int | None = None
    agreement: float | None = None
    distance: float | None = None
    floor: float | None = None
    precision: float | None = None
    recall: float | None = None


def per_class(sample: Sample, reference: Reference, names: tuple[str, ...]) -> list[ClassScores]:
    """Returns the scores of each class; none without labels.

    A generated image belongs to the class that was requested, or else to the one that the classifier predicts.

    Args:
        sample: Generated images.
        reference: Real images with labels.
        names: Names of the classes; empty without labels.
    """
    predicted = _predicted(sample, reference)
    labels = predicted if sample.labels is None else sample.labels
    if labels is None or reference.real.labels is None or reference.held_out.labels is None:
        return []
    rows = []
    for label, name in enumerate(names):
        chosen = labels == label
        agreement = None
        if sample.labels is not None and predicted is not None and chosen.any():
            agreement = float((predicted[chosen] == label).mean())
        real, held_out, others = (
            part.take(part.labels == label).features  # type: ignore[arg-type]  # all have labels
            for part in (reference.real, reference.held_out, reference.floor_real)
        )
        rows.append(_scores(name, agreement, sample.features[chosen], real, (held_out, others)))
    return rows


def count_predictions(sample: Sample, reference: Reference) -> list[list[int]] | None:
    """Returns the confusion matrix: how many images of each requested class are predicted to be of each class.

    The classifier learned from real images. What it gets wrong on those is in the floor of the score `agreement`.

    Args:
        sample: Generated images.
        reference: The classifier.

    Returns:
        A row for each requested class, a column for each predicted one; None if no classes were requested, or there is
        no classifier for them.
    """
    predicted = _predicted(sample, reference)
    if predicted is None or sample.labels is None:
        return None
    count = len(reference.extractor.classes)
    matrix = np.bincount(sample.labels * count + predicted, minlength=count * count)
    return matrix.reshape(count, count).tolist()


def _predicted(sample: Sample, reference: Reference) -> NDArray[np.int64] | None:
    """Returns the predicted class of each image; None if the extractor is no classifier of the data."""
    if sample.probabilities is None or not reference.extractor.classes:
        return None
    return sample.probabilities.argmax(axis=1)


def _scores(
    name: str,
    agreement: float | None,
    generated: NDArray[np.float32],
    real: NDArray[np.float32],
    floor_sets: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> ClassScores:
    count, (held_out, others) = len(generated), floor_sets
    if min(count, len(real), len(held_out), len(others)) < FEWEST:
        return ClassScores(name, count, len(real), agreement=agreement)
    measured = min(count, len(held_out))
    distance, floor = (
        frechet_distance(Statistics.of([rows[:measured]]), Statistics.of([real_rows]))
        for rows, real_rows in ((generated, real), (held_out, others))
    )
    pairs = min(measured, len(real))
    precision, recall = precision_recall(generated[:pairs], real[:pairs])
    return ClassScores(name, count, len(real), measured, agreement, distance, floor, precision, recall)
