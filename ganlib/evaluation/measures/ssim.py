"""Structural similarity of two images (Wang, Bovik, Sheikh and Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861).

The definition, because tools differ: a Gaussian window of 11x11 pixels with a standard deviation of 1.5; K1 = 0.01 and
K2 = 0.03 with a range of 255; variances weighted by the window, without a correction for few pixels; only windows that
are completely inside the image. The paper has grey images. Here, each channel is compared by itself, and the channels
are averaged.

`tf.image.ssim` has this definition and takes as long, but computes in float32: its values are off by up to 2e-4 for
images that are flat and bright in large parts.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 11  # of the window, and the smallest side of an image
SIGMA = 1.5
MARGIN = SIDE // 2  # pixels at each edge that are the centre of no window
LUMINANCE_CONSTANT = (0.01 * 255.0) ** 2
STRUCTURE_CONSTANT = (0.03 * 255.0) ** 2
BLOCK = 48  # windows in one matrix product: fewer are slow in NumPy, more multiply too many zeros


class SimilarityMaps(NamedTuple):
    """The similarity around each pixel that is the centre of a window.

    Attributes:
        similarity: float64 [C, H - 10, W - 10]: the structural similarity, -1 to 1. Its mean is the score.
        structure: The same shape: contrast and structure without luminance, for the multi-scale score.
    """

    similarity: NDArray[np.float64]
    structure: NDArray[np.float64]


def similarity_maps(first: NDArray[np.generic], second: NDArray[np.generic]) -> SimilarityMaps:
    """Compares two images.

    Args:
        first: Values in 0..255 [H, W, C] of any type, with sides of at least 11.
        second: The same shape.

    Raises:
        ValueError: The images are smaller than a window.
    """
    if min(first.shape[:2]) < SIDE:
        raise ValueError(f"expected images of at least {SIDE}x{SIDE} pixels. Received: shape={first.shape}")
    channels = [_channel(first[..., number], second[..., number]) for number in range(first.shape[2])]
    return SimilarityMaps(*map(np.stack, zip(*channels, strict=True)))


def _channel(first: NDArray[np.generic], second: NDArray[np.generic]) -> SimilarityMaps:
    """Compares one channel [H, W]. A channel at a time fits in the processor's cache, which halves the time."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    planes = np.stack([one, other, one * one + other * other, one * other])
    mean, other_mean, squares, product = _window_means(planes)
    means, squared_means = 2.0 * mean * other_mean, mean * mean + other_mean * other_mean
    structure = (2.0 * product - means + STRUCTURE_CONSTANT) / (squares - squared_means + STRUCTURE_CONSTANT)
    luminance = (means + LUMINANCE_CONSTANT) / (squared_means + LUMINANCE_CONSTANT)
    return SimilarityMaps(luminance * structure, structure)


def _window_means(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the weighted means [K, H - 10, W - 10] in all windows of planes [K, H, W]."""
    count, height, width = planes.shape
    rows = np.empty((count, height, width - SIDE + 1))
    means = np.empty((count, height - SIDE + 1, width - SIDE + 1))
    for start in range(0, rows.shape[2], BLOCK):
        windows = min(BLOCK, rows.shape[2] - start)
        part = planes[:, :, start : start + windows + SIDE - 1]
        np.matmul(part, _window(windows), out=rows[:, :, start : start + windows])
    for start in range(0, means.shape[1], BLOCK):
        windows = min(BLOCK, means.shape[1] - start)
        part = rows[:, start : start + windows + SIDE - 1]
        np.matmul(_window(windows).T, part, out=means[:, start : start + windows])
    return means


@functools.cache
def _window(count: int) -> NDArray[np.float64]:
    """Returns a matrix [count + 10, count] whose columns are the Gaussian window, each one pixel further."""
    offsets = np.arange(count + SIDE - 1)[:, None] - np.arange(count) - MARGIN
    weights = np.where(np.abs(offsets) <= MARGIN, np.exp(-(offsets**2) / (2.0 * SIGMA**2)), 0.0)
    return weights / weights.sum(axis=0)
