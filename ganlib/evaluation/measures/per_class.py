"""Scores of each class by itself."""

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
    """What the measures say of the images of one class; None where there are too few images.

    Attributes:
        name: The class.
        count: Generated images of it.
        real: Real images of it that these are measured against, of the reference split: of all classes together the
            first 10,000 training images are kept, so of a large data set not all.
        measured: Generated images that the distance is of: no more than there are held-out real images for the floor.
        agreement: Share of all generated images of it in which the classifier sees it, if it was asked for.
        distance: Frechet distance of the measured ones to these real images.
        floor: That of as many held-out real images of the class to others.
        precision: Share of generated images among the real ones, of as many of each.
        recall: Share of real images among the generated ones, likewise.
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
        real, held_out, beside = (
            part.take(part.labels == label).features  # type: ignore[arg-type]  # all have labels
            for part in (reference.real, reference.held_out, reference.beside)
        )
        rows.append(_scores(name, agreement, sample.features[chosen], real, (held_out, beside)))
    return rows


def _scores(
    name: str,
    agreement: float | None,
    generated: NDArray[np.float32],
    real: NDArray[np.float32],
    floor_of: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> ClassScores:
    count, (held_out, beside) = len(generated), floor_of
    if min(count, len(real), len(held_out), len(beside)) < FEWEST:
        return ClassScores(name, count, len(real), agreement=agreement)
    measured = min(count, len(held_out))
    distance, floor = (
        frechet_distance(Statistics.of([rows[:measured]]), Statistics.of([others]))
        for rows, others in ((generated, real), (held_out, beside))
    )
    pairs = min(measured, len(real))
    precision, recall = precision_recall(generated[:pairs], real[:pairs])
    return ClassScores(name, count, len(real), measured, agreement, distance, floor, precision, recall)
