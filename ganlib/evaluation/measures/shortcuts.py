"""Signs that a network takes a shortcut: it returns its input, or paints the mean.

Both compare a difference with another one that is as large as it would be for a network that does its work, and count
the images for which it is less than a tenth of that. So neither depends on the range or the contrast of the images.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.tasks import Samples

    Images = NDArray[np.uint8]
    Signs = dict[str, NDArray[np.bool_]]

LIMIT = 0.1
MEANINGS = {
    "returned_input": "their input again, with less than a tenth of the change that was to be expected",
    "painted_mean": "the mean image or of one colour, where the true images are not",
}
RETURNED, PAINTED = MEANINGS
MEAN_IMAGES = 1000  # training images in a mean image, the first ones; the preparation has shuffled them


@dataclass(frozen=True)
class Shortcuts:
    """Looks for the signs in the samples of one network.

    Attributes:
        inputs: Data whose images the network's inputs are made from.
        real: The real images that its samples are compared with.
        NAMES: Names of the signs.
    """

    NAMES: ClassVar[tuple[str, ...]] = tuple(MEANINGS)
    inputs: PreparedDataset
    real: PreparedDataset

    def signs(self, samples: Samples) -> Signs:
        """Returns whether each sample shows each sign that has a meaning for the task, bool [N] by its name.

        A returned input needs inputs that are images, a painted mean true images. The known pixels around a hole are
        equal in sample, input and true image, so only those in the hole decide whether an input was returned.
        """
        signs: Signs = {}
        if samples.unchanged is not None:
            others = self._mean_input if samples.truths is None else samples.truths
            signs[RETURNED] = returned_input(samples.images, samples.unchanged, others)
        if samples.truths is not None:
            signs[PAINTED] = painted_mean(samples.images, samples.truths, self._mean_real, holes=samples.holes)
        return signs

    @staticmethod
    def shares(batches: Sequence[Signs]) -> dict[str, float]:
        """Returns the share of samples that show each sign, by its name, from the signs of batches of samples."""
        return {name: float(np.concatenate([batch[name] for batch in batches]).mean()) for name in batches[0]}

    @functools.cached_property
    def _mean_input(self) -> NDArray[np.float64]:
        return mean_image(self.inputs)

    @functools.cached_property
    def _mean_real(self) -> NDArray[np.float64]:
        return mean_image(self.real)


def mean_image(dataset: PreparedDataset) -> NDArray[np.float64]:
    """Returns the mean [H, W, C] of the first training images, 0 to 255."""
    total, count = np.zeros(dataset.image_shape), 0
    for images, _ in dataset.read("train"):
        first = images[: MEAN_IMAGES - count]
        total, count = total + first.sum(axis=0, dtype=np.float64), count + len(first)
        if count == MEAN_IMAGES:
            break
    return total / count


def returned_input(samples: Images, inputs: Images, others: Images | NDArray[np.floating]) -> NDArray[np.bool_]:
    """Returns for each sample whether it is its input again; the mean is the share of such samples.

    It is, if the sample differs from its input by less than a tenth of what another image differs from the input. All
    differences are mean absolute ones. An undamaged input has to be returned, so it does not count.

    Args:
        samples: uint8 [N, H, W, C].
        inputs: The same shape.
        others: The true images, of the same shape; or if they are unknown, as in unpaired translation, the mean image
            [H, W, C] of the domain of the inputs.
    """
    return _distances(samples, inputs) < LIMIT * _distances(inputs, others)


def painted_mean(
    samples: Images, truths: Images, mean: NDArray[np.floating], *, holes: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Returns for each sample whether it is the mean image or of one colour; the mean is the share of such samples.

    It is, if it differs from the mean image, or from its own mean colour, by less than a tenth of what the true image
    differs from the mean image, or from its own mean colour. All differences are mean absolute ones, over the hole if
    there is one. A true image that is of one colour itself does not count as long as the sample is not the mean image.

    Args:
        samples: uint8 [N, H, W, C].
        truths: The same shape.
        mean: Mean training image [H, W, C], 0 to 255.
        holes: bool [N, H, W, 1]; None to compare whole images. A sample without a hole does not count.
    """
    weights = np.ones((*samples.shape[:3], 1)) if holes is None else holes.astype(np.float64)
    near_mean = _distances(samples, mean, weights) < LIMIT * _distances(truths, mean, weights)
    flat, expected = (_distances(images, _colours(images, weights), weights) for images in (samples, truths))
    return near_mean | (flat < LIMIT * expected)


def _distances(
    images: Images, others: Images | NDArray[np.floating], weights: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float64]:
    """Returns the mean absolute difference [N] of images to others, up to a factor that is the same for an image."""
    return (np.abs(images.astype(np.float64) - others) * weights).mean(axis=(1, 2, 3))


def _colours(images: Images, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean colour [N, 1, 1, C] of each image, over the pixels with weight 1; black if there are none."""
    counts = np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1.0)
    return (images * weights).sum(axis=(1, 2), keepdims=True) / counts
