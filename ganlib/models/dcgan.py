"""Deep convolutional GAN (Radford, Metz, Chintala 2016, https://arxiv.org/abs/1511.06434)."""

from __future__ import annotations

from typing import Literal

from etils import epy
from pydantic import Field

from ganlib.models.base import Architecture, ImageShape

with epy.lazy_imports():
    import keras
    import tensorflow as tf

SMALLEST, LARGEST = 16, 128
BASE = 4  # side of the smallest feature map, at least
KERNEL = 5


class Dcgan(Architecture):
    """Strided 5x5 convolutions, batch norm in the generator, dropout in the discriminator.

    At 28x28 with the default widths it is the classic small network: dense 7x7x256, transposed
    convolutions 128, 64, 1 against convolutions 64, 128. Larger images add stride-2 stages and
    double the widths up to `max_width`. Weights start as N(0, 0.02), as in the paper.
    """

    kind: Literal["dcgan"] = "dcgan"
    width: int = Field(default=64, ge=4)
    """Channels of the stage nearest to the image; each further stage doubles them."""
    max_width: int = Field(default=512, ge=4)
    """Upper bound of the channels."""
    dropout: float = Field(default=0.3, ge=0.0, le=0.99)
    """Share of activations that the discriminator drops after each convolution."""
    leak: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Slope of LeakyReLU for negative values."""

    def check(self, image_shape: ImageShape) -> None:
        """Refuses shapes that stride-2 stages cannot reach; see the base class."""
        height, width, _ = image_shape
        if height != width or not SMALLEST <= height <= LARGEST or height % 4:
            raise ValueError(
                f"dcgan serves square images of {SMALLEST} to {LARGEST} pixels a side in steps of 4 "
                f"(its strides double twice at least). Received: size={height}x{width}"
            )

    def stages(self, size: int) -> int:
        """Returns how often the image is halved until no even step above the smallest map is left."""
        halvings = 0
        while size % 2 == 0 and size // 2 >= BASE:
            size, halvings = size // 2, halvings + 1
        return halvings

    def generator(self, *, latent_dim: int, image_shape: ImageShape, dtype: str) -> keras.Model:
        """Builds the generator; see the base class."""
        self.check(image_shape)
        stages = self.stages(image_shape[0])
        base = image_shape[0] // 2**stages
        start = self._channels(stages)
        latent = keras.Input((latent_dim,), name="latent", dtype="float32")
        x = keras.layers.Dense(base * base * start, use_bias=False, kernel_initializer=_initial(), dtype=dtype)(latent)
        x = self._normalised(x, dtype)
        x = keras.layers.Reshape((base, base, start), dtype=dtype)(x)
        for stage in range(stages):
            strides = 1 if stage == 0 else 2
            x = _up(self._channels(stages - 1 - stage), strides=strides, dtype=dtype)(x)
            x = self._normalised(x, dtype)
        x = _up(image_shape[2], strides=2, dtype=dtype)(x)
        # In float32 under mixed precision too: the last rounding of a picture is to 8 bits, not to 7.
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(latent, images, name="generator")

    def discriminator(self, *, image_shape: ImageShape, dtype: str, seed: int) -> keras.Model:
        """Builds the discriminator; see the base class."""
        from ganlib.models.layers import ReplicaDropout

        self.check(image_shape)
        images = keras.Input(image_shape, name="images", dtype="float32")
        x = images
        for stage in range(self.stages(image_shape[0])):
            x = keras.layers.Conv2D(
                self._channels(stage), KERNEL, strides=2, padding="same", kernel_initializer=_initial(), dtype=dtype
            )(x)
            x = keras.layers.LeakyReLU(negative_slope=self.leak, dtype=dtype)(x)
            x = ReplicaDropout(self.dropout, seed=seed + stage, dtype=dtype)(x)
        x = keras.layers.Flatten(dtype=dtype)(x)
        logits = keras.layers.Dense(1, kernel_initializer=_initial(), dtype="float32", name="logits")(x)
        return keras.Model(images, logits, name="discriminator")

    def _channels(self, stage: int) -> int:
        """Channels of a stage; stage 0 is nearest to the image."""
        return min(self.width * 2**stage, max(self.max_width, self.width))

    def _normalised(self, x: keras.KerasTensor, dtype: str) -> keras.KerasTensor:
        # Under replicas the statistics are those of the global batch, so their number changes no result.
        shared = tf.distribute.get_strategy().num_replicas_in_sync > 1
        x = keras.layers.BatchNormalization(momentum=0.9, synchronized=shared, dtype=dtype)(x)
        return keras.layers.LeakyReLU(negative_slope=self.leak, dtype=dtype)(x)


def _initial() -> keras.initializers.Initializer:
    """A new initializer for each layer: one object used twice would give equal weights."""
    return keras.initializers.RandomNormal(stddev=0.02)


def _up(channels: int, *, strides: int, dtype: str) -> keras.layers.Layer:
    return keras.layers.Conv2DTranspose(
        channels, KERNEL, strides=strides, padding="same", use_bias=False, kernel_initializer=_initial(), dtype=dtype
    )
