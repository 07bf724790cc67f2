"""An independent classifier of generated digits: a support vector machine.

It is trained on the embedded digits in their original 8x8 pixels and does not use the networks of this project.
`benchmarks/first_run.py` and a test use it.
"""

import numpy as np
from sklearn import datasets
from sklearn.svm import SVC

from ganlib.data.digits import FULL_INK, TEST_EVERY

SIDE = 8
GAMMA = 0.001  # for pixels of 0..16, as in scikit-learn's own example on these digits
MIN_MARGIN = 0.5  # half of the margin between two classes


class Judge:
    """A classifier that is trained on the real training digits or on the held-out ones.

    Args:
        held_out: Whether to train it on the 360 test digits instead of the 1,437 training digits.
    """

    def __init__(self, *, held_out: bool = False) -> None:
        self.pixels, self.labels = real_digits(held_out=held_out)
        self._classifier = SVC(gamma=GAMMA, decision_function_shape="ovo").fit(self.pixels, self.labels)

    def classify(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classifies images and says which of them are certain.

        There is one decision for each pair of classes. A class is certain if it wins all of its nine decisions by at
        least half the margin. This is not a probability, because scikit-learn will remove `SVC(probability=True)`.

        Args:
            pixels: float64 [N, 64] in 0..16, see `to_digits_scale`.

        Returns:
            The classes, int64 [N], and whether they are certain, bool [N].
        """
        classes = self._classifier.predict(pixels)
        decisions = self._classifier.decision_function(pixels)  # [N, 45]; above zero for the first class of the two
        first, second = np.triu_indices(len(self._classifier.classes_), 1)
        lost = np.where(second == classes[:, None], -decisions, np.inf)
        margins = np.where(first == classes[:, None], decisions, lost)
        return classes, margins.min(axis=1) >= MIN_MARGIN


def real_digits(*, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the embedded digits of a split: float64 [N, 64] in 0..16, and their classes, int64 [N]."""
    bunch = datasets.load_digits()
    rows = (np.arange(len(bunch.target)) % TEST_EVERY == 0) == held_out
    return bunch.data[rows], bunch.target[rows]


def to_digits_scale(images: np.ndarray) -> np.ndarray:
    """Converts uint8 [N, 16, 16, 1] to the pixels and scale of the original digits: float64 [N, 64] in 0..16."""
    count, height, width, _ = images.shape
    blocks = images.reshape(count, SIDE, height // SIDE, SIDE, width // SIDE)
    return blocks.mean(axis=(2, 4)).reshape(count, -1) * (FULL_INK / 255)


def variance_within_classes(pixels: np.ndarray, labels: np.ndarray) -> float:
    """Returns the variance of the images of a class, summed over pixels and averaged over classes."""
    return float(np.mean([pixels[labels == label].var(axis=0).sum() for label in np.unique(labels)]))
