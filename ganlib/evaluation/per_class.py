"""Scores of each class by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.frechet import frechet_distance
from ganlib.evaluation.precision_recall import NEIGHBOUR, precision_recall
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
    """What the measures say of the images of one class; None where there are too few images.

    Attributes:
        name: The class.
        count: Generated images of it.
        real: Real training images of it that these are measured against: of all classes together the first 10,000 are
            kept, so of a large data set not all.
        agreement: Share of these in which the classifier sees it, if it was asked for.
        distance: Frechet distance to these real images.
        floor: That of as many real test images of the class.
        precision: Share of generated images among the real ones.
        recall: Share of real images among the generated ones.
    """

    name: str
    count: int
    real: int
    agreement: float | None = None
    distance: float | None = None
    floor: float | None = None
    precision: float | None = None
    recall: float | None = None


def per_class(sample: Sample, reference: Reference, names: tuple[str, ...]) -> list[ClassScores]:
    """Returns the scores of each class, where images have labels.

    Generated images count for the class that was asked for, or else for the one that the classifier sees.

    Args:
        sample: Generated images.
        reference: Real images with labels.
        names: Names of the classes; empty without labels.
    """
    seen = None if sample.probabilities is None or not reference.extractor.classes else sample.probabilities.argmax(1)
    labels = seen if sample.labels is None else sample.labels
    if labels is None or reference.real.labels is None or reference.held_out.labels is None:
        return []
    rows = []
    for label, name in enumerate(names):
        chosen = labels == label
        asked_and_seen = sample.labels is not None and seen is not None and chosen.any()
        agreement = float((seen[chosen] == label).mean()) if asked_and_seen and seen is not None else None
        real, held_out = (part.take(part.labels == label).features for part in (reference.real, reference.held_out))  # type: ignore[arg-type]  # both have labels
        rows.append(_scores(name, agreement, sample.features[chosen], real, held_out))
    return rows


def _scores(
    name: str,
    agreement: float | None,
    generated: NDArray[np.float32],
    real: NDArray[np.float32],
    held_out: NDArray[np.float32],
) -> ClassScores:
    count = len(generated)
    if min(count, len(real), len(held_out)) < FEWEST:
        return ClassScores(name, count, len(real), agreement)
    fewest = min(count, len(held_out))
    statistics = Statistics.of([real])
    distance, floor = (frechet_distance(Statistics.of([rows[:fewest]]), statistics) for rows in (generated, held_out))
    pairs = min(fewest, len(real))
    precision, recall = precision_recall(generated[:pairs], real[:pairs])
    return ClassScores(name, count, len(real), agreement, distance, floor, precision, recall)
