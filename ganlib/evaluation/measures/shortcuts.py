"""Signs that a network takes a shortcut: it returns its input, or paints the mean.

Both compare a difference with another one that is as large as it would be for a network that does its work, and count
the images for which it is less than a tenth of that. So neither depends on the range or the contrast of the images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]

LIMIT = 0.1


def returned_input(samples: Images, inputs: Images, *, truths: Images | None = None) -> NDArray[np.bool_]:
    """Returns for each sample whether it is its input again; the mean is the share of such samples.

    It is, if the sample differs from its input by less than a tenth of what the true image differs from the input, or
    without true images, a tenth of what inputs differ from their mean image, on average. All differences are mean
    absolute ones. An undamaged input has to be returned, so it does not count.

    Args:
        samples: uint8 [N, H, W, C].
        inputs: The same shape.
        truths: The same shape; None if they are unknown, as in unpaired translation. Then there must be many inputs.
    """
    if truths is None:
        expected = np.full(len(inputs), _distances(inputs, inputs.mean(axis=0)).mean())
    else:
        expected = _distances(truths, inputs)
    return _distances(samples, inputs) < LIMIT * expected


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
