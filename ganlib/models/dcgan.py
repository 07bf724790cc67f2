"""Deep convolutional GAN (Radford, Metz, Chintala 2016, https://arxiv.org/abs/1511.06434)."""

from __future__ import annotations

from typing import Literal

from etils import epy
from pydantic import Field

from ganlib import streams
from ganlib.models.base import ImageShape
from ganlib.models.conditions import batch_norm, modulate, network_inputs, projection_logits
from ganlib.models.pyramid import Pyramid

with epy.lazy_imports():
    import keras

KERNEL = 5


class Dcgan(Pyramid):
    """Strided 5x5 convolutions, batch norm in the generator, dropout in the discriminator.

    At 28x28 with the default widths it is the classic small network: dense 7x7x256, transposed
    convolutions 128, 64, 1 against convolutions 64, 128. Larger images add stride-2 stages and
    double the widths up to `max_width`. Weights start as N(0, 0.02), as in the paper. A class chooses
    the gains and biases of the generator's batch norm and is projected in the discriminator.
    """

    kind: Literal["dcgan"] = "dcgan"
    discriminator_norm: Literal["none", "batch", "spectral"] = "none"
    """Normalisation of the discriminator: none, batch norm as in the paper, or spectral norm, the most stable one."""
    dropout: float = Field(default=0.3, ge=0.0, le=0.99)
    """Dropout rate of the discriminator, after each convolution."""
    negative_slope: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Slope of LeakyReLU for negative values."""

    @property
    def judges_batches(self) -> bool:
        """Whether the discriminator has batch norm."""
        return self.discriminator_norm == "batch"

    def generator(self, *, latent_dim: int, image_shape: ImageShape, classes: int, dtype: str) -> keras.Model:
        """Builds the generator."""
        self.check(image_shape)
        stages, (height, width) = self.stages(image_shape), self.base(image_shape)
        start = self.channels(stages)
        inputs, latent, known = network_inputs("latent", (latent_dim,), classes)
        x = keras.layers.Dense(height * width * start, use_bias=False, kernel_initializer=_initial(), dtype=dtype)(
            latent
        )
        x = batch_norm(x, affine=known is None, dtype=dtype)
        x = keras.layers.Reshape((height, width, start), dtype=dtype)(x)
        x = keras.layers.LeakyReLU(negative_slope=self.negative_slope, dtype=dtype)(modulate(x, known, dtype=dtype))
        for stage in range(stages):
            x = _up(self.channels(stages - 1 - stage), strides=1 if stage == 0 else 2, dtype=dtype)(x)
            x = batch_norm(x, affine=known is None, dtype=dtype)
            x = keras.layers.LeakyReLU(negative_slope=self.negative_slope, dtype=dtype)(modulate(x, known, dtype=dtype))
        x = _up(image_shape[2], strides=2, dtype=dtype)(x)
        # In float32 also under mixed precision: images are rounded to 8 bits, and bfloat16 has 7.
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(inputs, images, name="generator")

    def discriminator(self, *, image_shape: ImageShape, classes: int, dtype: str, seed: int) -> keras.Model:
        """Builds the discriminator."""
        from ganlib.models.layers import ReplicaDropout
        from ganlib.models.spectral import weight_layers

        self.check(image_shape)
        convolution, dense = weight_layers(spectral=self.discriminator_norm == "spectral")
        inputs, images, known = network_inputs("images", image_shape, classes)
        x = images
        for stage in range(self.stages(image_shape)):
            normed = self.discriminator_norm == "batch" and stage > 0
            x = convolution(
                self.channels(stage),
                KERNEL,
                strides=2,
                padding="same",
                use_bias=not normed,
                kernel_initializer=_initial(),
                dtype=dtype,
            )(x)
            x = batch_norm(x, dtype=dtype) if normed else x
            x = keras.layers.LeakyReLU(negative_slope=self.negative_slope, dtype=dtype)(x)
            x = ReplicaDropout(self.dropout, seed=streams.key("dropout", seed, stage), dtype=dtype)(x)
        x = keras.layers.Flatten(dtype=dtype)(x)
        logits = projection_logits(x, known, dense=dense, initial=_initial)
        return keras.Model(inputs, logits, name="discriminator")


def _initial() -> keras.initializers.Initializer:
    """Returns a new initializer, since one object used twice gives equal weights."""
    return keras.initializers.RandomNormal(stddev=0.02)


def _up(channels: int, *, strides: int, dtype: str) -> keras.layers.Layer:
    return keras.layers.Conv2DTranspose(
        channels, KERNEL, strides=strides, padding="same", use_bias=False, kernel_initializer=_initial(), dtype=dtype
    )
