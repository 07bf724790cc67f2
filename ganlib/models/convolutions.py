"""What convolutional networks from images to images share, of stock Keras layers only."""

from __future__ import annotations

from typing import Any, Literal

from etils import epy

from ganlib.models.conditions import batch_norm

with epy.lazy_imports():
    import keras

Upsampling = Literal["resize", "transposed"]
Norm = Literal["none", "instance", "batch"]

LEAK = 0.2
RESIZE_KERNEL = 3

Tensor = Any  # keras.KerasTensor, and no types come with it


def normal() -> keras.initializers.Initializer:
    """Returns N(0, 0.02), a new one at each call, since one object used twice gives equal weights."""
    return keras.initializers.RandomNormal(stddev=0.02)


def normalise(x: Tensor, norm: Norm, *, dtype: str) -> Tensor:
    """Normalises [N, H, W, C]: each channel over the batch, with gain and bias, or over each image, without them.

    The second is the instance norm of Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022.
    """
    if norm == "none":
        return x
    if norm == "batch":
        return batch_norm(x, dtype=dtype)
    return keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, center=False, scale=False, dtype=dtype)(x)


def reflect(x: Tensor, border: int) -> Tensor:
    """Adds a border to [N, H, W, C] that mirrors the image, so that no edge shows there."""
    return keras.ops.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")


def upsample(x: Tensor, filters: int, *, upsampling: Upsampling, kernel: int, settings: dict[str, Any]) -> Tensor:
    """Doubles a map with a convolution.

    `transposed` is a transposed convolution with stride 2. Its kernel meets every other pixel with other weights, which
    leaves a checkerboard. `resize` repeats each pixel and then convolves, and leaves none (Odena, Dumoulin, Olah 2016,
    https://distill.pub/2016/deconv-checkerboard).

    Args:
        x: [N, H, W, C].
        filters: Channels that come out.
        upsampling: `resize` or `transposed`.
        kernel: Side of the transposed kernel. `resize` has 3, which on repeated pixels reaches as far as 4.
        settings: Of the convolution, `dtype` among them.

    Returns:
        [N, 2H, 2W, filters].
    """
    if upsampling == "transposed":
        return keras.layers.Conv2DTranspose(filters, kernel, strides=2, padding="same", **settings)(x)
    x = reflect(keras.layers.UpSampling2D(dtype=settings["dtype"])(x), RESIZE_KERNEL // 2)
    return keras.layers.Conv2D(filters, RESIZE_KERNEL, **settings)(x)
