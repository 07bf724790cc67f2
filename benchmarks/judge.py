"""A judge of generated digits that has no part in making or choosing them: a support vector machine.

It knows the embedded digits at their own 8x8 pixels, and nothing of this project's networks. `benchmarks/first_run.py`
and a test ask it.
"""

import numpy as np
from sklearn import datasets
from sklearn.svm import SVC

from ganlib.data.digits import FULL_INK, TEST_EVERY

SIDE = 8
GAMMA = 0.001  # for pixels of 0..16, as in scikit-learn's own example on these digits
HALF = 0.5  # of the margin that the machine keeps between two classes


class Judge:
    """Fitted on the real training digits, or on the held-out ones.

    Args:
        held_out: Whether it learns from the 360 digits that no step trains on, in the place of the 1,437 others.
    """

    def __init__(self, *, held_out: bool = False) -> None:
        self.pixels, self.labels = real(held_out=held_out)
        self._machine = SVC(gamma=GAMMA, decision_function_shape="ovo").fit(self.pixels, self.labels)

    def answers(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Says what images show, and where it is sure.

        It decides between each two classes. It is sure where the class that is found wins each of its nine duels by at
        least half the margin. That is a decision, not a probability: scikit-learn gives up `SVC(probability=True)`.

        Args:
            pixels: float64 [N, 64] in 0..16, see `native`.

        Returns:
            The classes, int64 [N], and whether it is sure, bool [N].
        """
        found = self._machine.predict(pixels)
        decisions = self._machine.decision_function(pixels)  # [N, 45]; above zero for the first class of the two
        first, second = np.triu_indices(len(self._machine.classes_), 1)
        lost = np.where(second == found[:, None], -decisions, np.inf)
        duels = np.where(first == found[:, None], decisions, lost)
        return found, duels.min(axis=1) >= HALF


def real(*, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the embedded digits of a split: float64 [N, 64] in 0..16, and their classes, int64 [N]."""
    bunch = datasets.load_digits()
    chosen = (np.arange(len(bunch.target)) % TEST_EVERY == 0) == held_out
    return bunch.data[chosen], bunch.target[chosen]


def native(images: np.ndarray) -> np.ndarray:
    """Brings uint8 [N, 16, 16, 1] to the digits' own pixels and scale: float64 [N, 64] in 0..16."""
    count, height, width, _ = images.shape
    blocks = images.reshape(count, SIDE, height // SIDE, SIDE, width // SIDE)
    return blocks.mean(axis=(2, 4)).reshape(count, -1) * (FULL_INK / 255)


def variance(pixels: np.ndarray, labels: np.ndarray) -> float:
    """Returns how much images of one class differ: their variance, over all pixels, on average over the classes."""
    return float(np.mean([pixels[labels == label].var(axis=0).sum() for label in np.unique(labels)]))
