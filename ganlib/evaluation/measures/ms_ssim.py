"""Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003, https://doi.org/10.1109/ACSSC.2003.1292216).

The definition, because tools differ: contrast and structure of the full size and of three halvings, and the structural
similarity of the fourth; means over 2x2 pixels as halvings, where an odd row or column is doubled; windows and
constants as in `ssim`. The means of a channel, negative ones as 0, are raised to the weights and multiplied; then the
channels are averaged. With fewer than five scales it would be another measure, so small images have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.measures.ssim import SIDE, SimilarityMaps, similarity_maps

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the full size first
SMALLEST_SIDE = SIDE * 2 ** (len(WEIGHTS) - 1)


def multi_scale_similarity(
    first: NDArray[np.generic], second: NDArray[np.generic], *, full_size: SimilarityMaps
) -> float:
    """Returns the multi-scale structural similarity of two images, 0 to 1.

    Args:
        first: Values in 0..255 [H, W, C] of any type, with sides of at least 176.
        second: The same shape.
        full_size: Their `similarity_maps`.

    Raises:
        ValueError: The images are too small for five scales.
    """
    if min(first.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"expected sides of at least {SMALLEST_SIDE} pixels. Received: shape={first.shape}")
    one, other = first.astype(np.float64), second.astype(np.float64)
    maps = full_size
    product = np.ones(first.shape[2])
    for weight in WEIGHTS[:-1]:
        product *= _channel_means(maps.structure) ** weight
        one, other = _halve(one), _halve(other)
        maps = similarity_maps(one, other)
    return float((product * _channel_means(maps.similarity) ** WEIGHTS[-1]).mean())


def _channel_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean of each channel of [C, H, W], at least 0, because roots of negative numbers are not real."""
    return np.maximum(values.mean(axis=(1, 2)), 0.0)


def _halve(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the means over 2x2 pixels of [H, W, C]; an odd last row or column is doubled."""
    height, width, _ = image.shape
    image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4.0
