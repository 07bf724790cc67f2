"""Resizing of images to the input size of a feature network: `legacy` as in 2015, `clean` as in image editors.

Resizing without antialiasing changes a Frechet distance by whole points (Parmar et al. 2022,
https://arxiv.org/abs/2104.11222), so every score records the resize mode. Both modes keep the range 0..255 and do not
round.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib.runtime import true_float32

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

ResizeMode = Literal["legacy", "clean"]
CUBIC = -0.5  # cubic kernel of Pillow and most libraries; OpenCV and old TensorFlow use -0.75
SUPPORT = 2.0


def resize_images(images: NDArray[np.uint8], *, resize_mode: ResizeMode, side: int) -> tf.Tensor:
    """Resizes images to square RGB images.

    Args:
        images: uint8 [N, H, W, C]; a single channel is repeated three times.
        resize_mode: `legacy` is bilinear interpolation without antialiasing, as TensorFlow 1 did it in the Inception
            graph of 2015; `clean` is Pillow's bicubic interpolation with antialiasing, clipped to 0..255.
        side: Height and width of the result.

    Returns:
        float32 [N, side, side, 3] in 0..255.
    """
    with true_float32():
        return _resize_images(images, resize_mode, side)


def _resize_images(images: NDArray[np.uint8], resize_mode: ResizeMode, side: int) -> tf.Tensor:
    pictures = tf.cast(images, tf.float32)
    if resize_mode == "legacy":
        pictures = tf.compat.v1.image.resize_bilinear(pictures, [side, side])
    else:
        rows, columns = (_bicubic(size, side) for size in images.shape[1:3])
        # Columns first, as in Pillow: the order changes the float32 sums by 1e-4 grey levels.
        pictures = tf.einsum("nhwc,xw->nhxc", pictures, columns)
        pictures = tf.einsum("nhxc,yh->nyxc", pictures, rows)
        pictures = tf.clip_by_value(pictures, 0.0, 255.0)
    return pictures if images.shape[3] == 3 else tf.repeat(pictures, 3, axis=3)


@functools.lru_cache(maxsize=64)
def _bicubic(before: int, after: int) -> NDArray[np.float32]:
    """Returns the matrix [after, before] of cubic interpolation (Keys 1981); the kernel is wider when reducing."""
    scale = before / after
    width = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum(0, (centres - SUPPORT * width + 0.5).astype(int))
    last = np.minimum(before, (centres + SUPPORT * width + 0.5).astype(int))
    positions = np.arange(before)
    weights = _cubic((positions + 0.5 - centres[:, None]) / width)
    weights *= (positions >= first[:, None]) & (positions < last[:, None])
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _cubic(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distances)
    near = ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x**2 + 1.0
    far = CUBIC * (((x - 5.0) * x + 8.0) * x - 4.0)
    return np.where(x < 1.0, near, np.where(x < SUPPORT, far, 0.0))
