"""All measures of a set of images against a reference. Applied to real test images, they give the floors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures import density_coverage, jackknife, precision_recall
from ganlib.evaluation.measures.class_score import SPLITS, class_score
from ganlib.evaluation.measures.discriminative import discriminative_scores, most_separable
from ganlib.evaluation.measures.frechet import frechet_estimate
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.evaluation.measures.memorisation import MEASURE, memorised_share
from ganlib.evaluation.measures.neighbours import squared_distances, squared_radii
from ganlib.evaluation.sample import draw_rows
from ganlib.evaluation.scores import Score, fraction_error
from ganlib.evaluation.statistics import Statistics, comparable

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.evaluation.extractors import FittedExtractor
    from ganlib.evaluation.sample import Sample

HASH_DIGITS = 16  # of the hash of the weights, in names for people
CLASS_SAMPLES = 1000
PAIRWISE_LIMIT = 10_000  # maximum number of images whose distances to each other are computed
DISCRIMINATIVE_LIMIT = 5000  # maximum number of samples that a classifier learns to tell from their true images
FARTHEST_NEIGHBOUR = max(precision_recall.NEIGHBOUR, density_coverage.NEIGHBOUR)
NEIGHBOUR_MEASURES = {
    "precision": "share of generated images that are among the real ones",
    "recall": "share of real images that are among the generated ones",
    "density": "how densely real images surround the generated ones",
    "coverage": "share of real images with a generated one nearby",
}
SURE = 0.9


def identity(space: FittedExtractor) -> str:
    """Returns the identity of a feature space. Statistics with different identities cannot be compared."""
    weights = space.sha256[:HASH_DIGITS]
    return f"{space.measure('fd')} (resize mode {space.resize_mode or 'none'}, weights {weights})"


def check_shape(shape: tuple[int, ...], space: FittedExtractor) -> None:
    """Refuses images of another shape (H, W, C) than the feature space expects, if it does not resize them."""
    if space.resize_mode is None and shape != space.network.input_shape[1:]:
        expected, received = ("x".join(map(str, sides)) for sides in (space.network.input_shape[1:], shape))
        raise ValueError(f"expected images of {expected}, as the reference's. Received: {received}")


def distances(
    features: NDArray[np.float32], real: Statistics | NDArray[np.float32], space: FittedExtractor
) -> list[Score]:
    """Returns the Frechet distance of features [N, D] to real ones, and its estimate for infinitely many images."""
    estimate = frechet_estimate(features, real)
    count = real.count if isinstance(real, Statistics) else len(real)
    meaning = f"Frechet distance of {len(features)} images to {count or 'the'} real ones; lower is better"
    scores = [Score(space.measure("fd"), estimate.value, None, meaning, estimate.error, count=len(features))]
    if estimate.infinity is not None:
        few = "few generated images" if isinstance(real, Statistics) else "few images on either side"
        meaning = f"the same without the bias of {few}; lower is better; at 0 or below, no distance is measurable"
        name = space.measure("fd_infinity")
        scores.append(Score(name, estimate.infinity, None, meaning, estimate.error, count=len(features)))
    return scores


def pairwise(features: NDArray[np.float32], real: NDArray[np.float32], space: FittedExtractor) -> list[Score]:
    """Returns the measures that compare single images, for the same number of images on each side.

    Measures that need more images than there are, are left out.
    """
    count, name = pairwise_count(len(features), len(real)), space.measure
    features, real = (rows[draw_rows(len(rows), count)] for rows in (features, real))
    counts = f"{count} generated and {count} real images"
    scores = []
    if count >= jackknife.FEWEST:
        value, error = kernel_distance(features, real)
        meaning = f"kernel distance, {counts}; lower is better; the best possible value is about the floor"
        scores.append(Score(name("kd"), value, None, meaning, error, count=count))
    if count > FARTHEST_NEIGHBOUR:
        for (word, meaning), value in zip(NEIGHBOUR_MEASURES.items(), _neighbour_values(features, real), strict=True):
            scores.append(Score(name(word), value, None, f"{meaning}, {counts}; higher is better", count=count))
    return scores


def _neighbour_values(generated: NDArray[np.float32], real: NDArray[np.float32]) -> tuple[float, ...]:
    """Returns the values of `NEIGHBOUR_MEASURES` from one pass over the distances."""
    generated_rows, real_rows = comparable(generated, real, least=FARTHEST_NEIGHBOUR + 1)
    near, far = squared_radii(real_rows, precision_recall.NEIGHBOUR, density_coverage.NEIGHBOUR)
    [generated_radii] = squared_radii(generated_rows, precision_recall.NEIGHBOUR)
    measures = (
        precision_recall.PrecisionRecall(generated_radii, near),
        density_coverage.DensityCoverage(far),
    )
    for _, distances in squared_distances(generated_rows, real_rows):
        for measure in measures:
            measure.add(distances)
    return tuple(value for measure in measures for value in measure.result())


def pairwise_count(*counts: int) -> int:
    """Returns the number of images on each side for the measures that compare single images."""
    return min(*counts, PAIRWISE_LIMIT)


def discriminative(features: NDArray[np.float32], truths: NDArray[np.float32], space: FittedExtractor) -> list[Score]:
    """Returns how hard features [N, D] are to tell from those of their true images; nothing if they are too few.

    The scores of the inputs are their baselines. For any other real images in the place of the samples, the second
    score is the highest possible one.
    """
    count = min(len(features), DISCRIMINATIVE_LIMIT)
    if count <= most_separable(features.shape[1]):
        return []
    result = discriminative_scores(features[:count], truths[:count])
    meanings = {
        "pds": f"share of {count} images that a linear classifier takes for more real than their true images",
        "uds": f"error of a linear classifier that tells {count} images from as many real ones",
    }
    return [
        Score(space.measure(word), value, None, f"{meaning}; 0 to about 0.5, higher is better", error, count=count)
        for (word, meaning), value, error in zip(meanings.items(), result[::2], result[1::2], strict=True)
    ]


def memorisation(closeness: NDArray[np.float64], held_out: NDArray[np.float64]) -> Score:
    """Returns the share of images that are closer to a training image than 95 % of held-out images, by closeness [N].

    The floor is the share for one half of the held-out images, compared with the other half.
    """
    value, error = memorised_share(closeness, held_out)
    half = held_out[1::2]
    floor, floor_error = memorised_share(half, held_out[::2])
    meaning = (
        f"share of {len(closeness)} images that are closer to a training image, in pixels, than 95 % of held-out real "
        "images are; a value clearly above the floor means copying"
    )
    return Score(MEASURE, value, floor, meaning, error, floor_error, len(closeness), len(half))


def classes(sample: Sample, space: FittedExtractor) -> list[Score]:
    """Returns the scores of the network's predictions, if it has classes, and of their agreement with labels."""
    predictions = sample.probabilities
    scores: list[Score] = []
    if predictions is None or not (space.classes or space.canonical):
        return scores
    if len(predictions) >= SPLITS:
        value, error = class_score(predictions)
        meaning = (
            f"confidence and variety of the predictions for {len(predictions)} images, from 1 to {predictions.shape[1]}"
        )
        name = space.measure("class_score")
        scores.append(Score(name, value, None, f"{meaning}; higher is better", error, count=len(predictions)))
    if not space.classes:
        return scores
    predicted, count = predictions.argmax(axis=1), len(space.classes)
    seen = f"classes that the classifier predicts for {len(predictions)} images; fewer than {count} means mode collapse"
    sure = f"share of images for which the classifier predicts a class with a probability of at least {SURE}"
    scores.append(
        Score(f"{space.name}_classes_seen", float(len(np.unique(predicted))), None, seen, count=len(predictions))
    )
    scores.append(_share(f"{space.name}_sure_share", predictions.max(axis=1) >= SURE, sure))
    if sample.labels is not None:
        meaning = f"share of {len(predictions)} images for which the classifier predicts the class that it should have"
        scores.append(_share(f"{space.name}_agreement", predicted == sample.labels, meaning))
    return scores


def _share(name: str, hits: NDArray[np.bool_], meaning: str) -> Score:
    share = float(hits.mean())
    return Score(name, share, None, meaning, fraction_error(int(hits.sum()), len(hits)), count=len(hits))
