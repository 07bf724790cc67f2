"""Every measure of some images against a reference. Real test images in their place give the floors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures import density_coverage, jackknife, precision_recall
from ganlib.evaluation.measures.class_score import SPLITS, class_score
from ganlib.evaluation.measures.frechet import frechet_estimate
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.evaluation.measures.memorisation import memorised
from ganlib.evaluation.sample import draw_rows
from ganlib.evaluation.scores import Score, fraction_error
from ganlib.evaluation.statistics import Statistics

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.evaluation.extractors import FittedExtractor
    from ganlib.evaluation.sample import Sample

HASH_DIGITS = 16  # of the hash that tells weights apart for people
CLASS_SAMPLES = 1000
PAIRWISE_LIMIT = 10_000  # images of which all distances to each other are taken
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


def identity(space: FittedExtractor) -> str:
    """Returns what tells a feature space from all others: statistics of two identities do not compare."""
    weights = space.sha256[:HASH_DIGITS]
    return f"{space.measure('fd')} (resize mode {space.resize_mode or 'none'}, weights {weights})"


def check_shape(shape: tuple[int, ...], space: FittedExtractor) -> None:
    """Refuses images of a shape (H, W, C) other than those of a feature space that takes them as they are."""
    if space.resize_mode is None and shape != space.network.input_shape[1:]:
        expected, received = ("x".join(map(str, sides)) for sides in (space.network.input_shape[1:], shape))
        raise ValueError(f"expected images of {expected}, as the reference's. Received: {received}")


def distances(
    features: NDArray[np.float32], real: Statistics | NDArray[np.float32], space: FittedExtractor
) -> list[Score]:
    """The Frechet distance of features [N, D] to real ones: as it is, and as endless samples would have it."""
    found = frechet_estimate(features, real)
    count = real.count if isinstance(real, Statistics) else len(real)
    meaning = f"Frechet distance of {len(features)} images to {count or 'the'} real ones; lower is better"
    scores = [Score(space.measure("fd"), found.value, None, meaning, found.error, count=len(features))]
    if found.infinity is not None:
        few = "few generated images" if isinstance(real, Statistics) else "few images on either side"
        meaning = f"the same without the bias of {few}; at 0 or below, nothing is left of the distance"
        name = space.measure("fd_infinity")
        scores.append(Score(name, found.infinity, None, meaning, found.error, count=len(features)))
    return scores


def pairwise(features: NDArray[np.float32], real: NDArray[np.float32], space: FittedExtractor) -> list[Score]:
    """What the measures say that compare single images, of as many on each side.

    A measure that needs more images than there are is left out.
    """
    count, name = pairwise_count(len(features), len(real)), space.measure
    features, real = (rows[draw_rows(len(rows), count)] for rows in (features, real))
    counts = f"{count} images beside {count} real ones"
    scores = []
    if count >= jackknife.FEWEST:
        value, error = kernel_distance(features, real)
        meaning = f"kernel distance, {counts}; lower is better, as low as the floor at best"
        scores.append(Score(name("kd"), value, None, meaning, error, count=count))
    if count > FARTHEST_NEIGHBOUR:
        for measure, meanings in NEIGHBOUR_MEASURES.items():
            for (word, meaning), value in zip(meanings.items(), measure(features, real), strict=True):
                scores.append(Score(name(word), value, None, f"{meaning}, {counts}; higher is better", count=count))
    return scores


def pairwise_count(*counts: int) -> int:
    """Images on each side of the measures that compare single ones, where there are so many."""
    return min(*counts, PAIRWISE_LIMIT)


def memorisation(closeness: NDArray[np.float64], held_out: NDArray[np.float64]) -> Score:
    """The share of images that are closer to a training image than all but a few held-out ones, by closeness [N].

    The floor is that of a half of the held-out images beside the other.
    """
    value, error = memorised(closeness, held_out)
    floored = held_out[1::2]
    floor, floor_error = memorised(floored, held_out[::2])
    meaning = (
        f"share of {len(closeness)} images that are closer to a training image, in pixels, than 95 % of held-out real "
        "images are; clearly above the floor is copying"
    )
    return Score("memorised_pixels", value, floor, meaning, error, floor_error, len(closeness), len(floored))


def classes(sample: Sample, space: FittedExtractor) -> list[Score]:
    """What the network's answers say, where it has classes, and where images have labels too."""
    answers = sample.probabilities
    scores: list[Score] = []
    if answers is None or not (space.classes or space.canonical):
        return scores
    if len(answers) >= SPLITS:
        value, error = class_score(answers)
        meaning = f"how sure and how varied the answers to {len(answers)} images are, from 1 to {answers.shape[1]}"
        name = space.measure("class_score")
        scores.append(Score(name, value, None, f"{meaning}; higher is better", error, count=len(answers)))
    if not space.classes:
        return scores
    found, count = answers.argmax(axis=1), len(space.classes)
    seen = f"classes among the classifier's answers to {len(answers)} images; fewer than {count} is mode collapse"
    sure = f"share of images for which the classifier is at least {SURE} sure of its answer"
    scores.append(Score(f"{space.name}_classes_seen", float(len(np.unique(found))), None, seen, count=len(answers)))
    scores.append(_share(f"{space.name}_sure_share", answers.max(axis=1) >= SURE, sure))
    if sample.labels is not None:
        meaning = f"share of {len(answers)} images in which the classifier sees the class that was asked for"
        scores.append(_share(f"{space.name}_agreement", found == sample.labels, meaning))
    return scores


def _share(name: str, hits: NDArray[np.bool_], meaning: str) -> Score:
    share = float(hits.mean())
    return Score(name, share, None, meaning, fraction_error(int(hits.sum()), len(hits)), count=len(hits))
