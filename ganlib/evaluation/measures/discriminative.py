"""Whether a linear classifier can tell samples from their true images; in the canonical space, P-IDS and U-IDS.

The paired and unpaired inception discriminative scores (Zhao et al. 2021, https://openreview.net/forum?id=sSjqmfsk95O).
As there: a linear support vector machine with squared hinge loss, C = 1 and its default tolerance, on features as they
are, scored on the images that it was trained on.

Two things follow. Features that are larger let the machine fit better, so values of two feature spaces do not compare.
And the fewer images, the better it fits: two samples of the same real images, 360 on each side in 163 dimensions, score
0.39 instead of 0.5. Therefore the score of one half of the real images against the other belongs beside it as a floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from etils import epy

from ganlib.evaluation.scores import fraction_error
from ganlib.evaluation.statistics import comparable

with epy.lazy_imports():
    import numpy as np
    from sklearn import svm

if TYPE_CHECKING:
    from numpy.typing import NDArray


class DiscriminativeScores(NamedTuple):
    """Two shares of images; their errors are those of drawing images, with the same classifier.

    Attributes:
        paired: Share of samples that the classifier takes for more real than their own true image: 0 to about 0.5.
        paired_error: Its standard error.
        unpaired: Share of all images that the classifier gets wrong: 0 to about 0.5.
        unpaired_error: Its standard error.
    """

    paired: float
    paired_error: float
    unpaired: float
    unpaired_error: float


def separable(count: int, width: int) -> bool:
    """Returns whether so many samples and true images can be separated whatever they are, so that both scores are 0.

    A plane separates any division of points in general position if they are no more than the features and one (Cover
    1965). Up to twice as many, it still does so more often than not.
    """
    return 2 * count <= width + 1


def most_separable(width: int) -> int:
    """Returns up to how many samples a plane tells from as many true images more often than not, whatever they are.

    Up to half as many, it always does; see `separable`.
    """
    return width + 1


def discriminative_scores(samples: NDArray[np.floating], truths: NDArray[np.floating]) -> DiscriminativeScores:
    """Trains a linear classifier to tell samples from true images, and returns how often it fails.

    Args:
        samples: Features [N, D].
        truths: Features [N, D] of the true image of each sample. For `unpaired` alone, any real images.

    Raises:
        ValueError: Features are not finite or not two-dimensional, differ in shape, or are so few that any images
            could be told apart.
    """
    samples, truths = comparable(samples, truths, least=1)
    count, width = samples.shape
    if len(truths) != count:
        raise ValueError(f"expected a true image for each sample. Received: {count} samples, {len(truths)} true images")
    if separable(count, width):
        raise ValueError(f"expected more than {(width + 1) // 2} samples in {width} dimensions. Received: {count}")
    features = np.concatenate([truths, samples])
    real = np.arange(2 * count) < count
    machine = svm.LinearSVC(dual=False).fit(features, real)  # without `dual`, it draws no random numbers
    realness = machine.decision_function(features)
    better = int((realness[count:] > realness[:count]).sum())
    wrong = int(((realness > 0) != real).sum())
    return DiscriminativeScores(
        better / count, fraction_error(better, count), wrong / (2 * count), fraction_error(wrong, 2 * count)
    )
