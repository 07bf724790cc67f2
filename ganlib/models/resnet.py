"""Residual networks of SNGAN (Miyato et al. 2018, https://arxiv.org/abs/1802.05957, tables 4 to 6)."""

from __future__ import annotations

from typing import Any, Literal

from etils import epy
from pydantic import Field

from ganlib.models.base import ImageShape
from ganlib.models.conditions import batch_norm, modulate, network_inputs, projection_logits
from ganlib.models.pyramid import BASE, Pyramid

with epy.lazy_imports():
    import keras

Tensor = Any  # keras.KerasTensor, and no types come with it


class Resnet(Pyramid):
    """Residual blocks; batch norm in the generator, spectral norm in the discriminator.

    The generator doubles a map from a dense layer of the latent, the discriminator halves the image and ends in two
    blocks that keep the size and the sum over all places: at 32x32 the paper's networks but for their widths. A class
    chooses the gains and biases of the generator's batch norm and is projected in the discriminator.
    """

    kind: Literal["resnet"] = "resnet"
    width: int = Field(default=64, ge=4)
    """Channels of the stage nearest to the image; each further stage doubles them, up to `max_width`. The paper has at
    32 pixels 256 in the generator and 128 in the discriminator throughout; at 128 pixels 64, doubling up to 1024."""
    max_width: int = Field(default=64, ge=4)
    """Upper bound of the channels; equal to `width` they are the same everywhere."""
    discriminator_norm: Literal["none", "spectral"] = "spectral"
    """Normalisation in the discriminator: `spectral` on every weight; `none` for gradient penalties."""

    def generator(self, *, latent_dim: int, image_shape: ImageShape, classes: int, dtype: str) -> keras.Model:
        """Builds the generator."""
        self.check(image_shape)
        stages, (height, width) = self.stages(image_shape), self.base(image_shape)
        start = self.channels(stages)
        inputs, latent, known = network_inputs("latent", (latent_dim,), classes)
        x = keras.layers.Dense(height * width * start, dtype=dtype)(latent)
        x = keras.layers.Reshape((height, width, start), dtype=dtype)(x)
        for stage in reversed(range(stages)):
            x = _up_block(x, self.channels(stage), known, dtype)
        x = _normalise(x, known, dtype)
        x = keras.layers.Conv2D(image_shape[2], 3, padding="same", dtype=dtype)(x)
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(inputs, images, name="generator")

    def discriminator(self, *, image_shape: ImageShape, classes: int, dtype: str, seed: int) -> keras.Model:
        """Builds the discriminator."""
        from ganlib.models.spectral import weight_layers

        del seed  # nothing inside is random
        self.check(image_shape)
        convolution, dense = weight_layers(spectral=self.discriminator_norm == "spectral")
        inputs, images, known = network_inputs("images", image_shape, classes)
        # The paper's last two blocks see maps of 8 pixels where the generator starts from 4.
        halvings = self.stages(image_shape) - (min(self.base(image_shape)) == BASE)
        x = images
        for stage in range(halvings + 2):
            channels = self.channels(min(stage, halvings))
            x = _down_block(x, channels, convolution, first=stage == 0, halve=stage < halvings, dtype=dtype)
        # A sum over many places needs float32.
        x = keras.ops.sum(keras.layers.ReLU(dtype="float32")(x), axis=(1, 2))
        logits = projection_logits(x, known, dense=dense, initial=keras.initializers.GlorotUniform)
        return keras.Model(inputs, logits, name="discriminator")


def _initial(gain: float = 2.0) -> keras.initializers.Initializer:
    """Glorot's uniform with the gain of ReLU, as the authors' code has it in blocks; 1 for what no ReLU precedes."""
    return keras.initializers.VarianceScaling(gain, mode="fan_avg", distribution="uniform")


def _normalise(x: Tensor, known: Tensor | None, dtype: str) -> Tensor:
    x = batch_norm(x, affine=known is None, dtype=dtype)
    return keras.layers.ReLU(dtype=dtype)(modulate(x, known, dtype=dtype))


def _up_block(x: Tensor, channels: int, known: Tensor | None, dtype: str) -> Tensor:
    """A block of the generator, which doubles the map before its first convolution."""
    # No convolution here has a bias, since the batch norm that follows would remove it.
    # A 1x1 convolution and the repetition of pixels commute; this order needs a quarter of the work.
    shortcut = keras.layers.Conv2D(channels, 1, use_bias=False, kernel_initializer=_initial(1.0), dtype=dtype)(x)
    shortcut = keras.layers.UpSampling2D(dtype=dtype)(shortcut)
    common = {"padding": "same", "use_bias": False, "dtype": dtype}
    x = keras.layers.UpSampling2D(dtype=dtype)(_normalise(x, known, dtype))
    x = keras.layers.Conv2D(channels, 3, kernel_initializer=_initial(), **common)(x)
    x = _normalise(x, known, dtype)
    x = keras.layers.Conv2D(channels, 3, kernel_initializer=_initial(), **common)(x)
    return keras.layers.Add(dtype=dtype)([x, shortcut])


def _down_block(x: Tensor, channels: int, convolution: Any, *, first: bool, halve: bool, dtype: str) -> Tensor:
    """A block of the discriminator. The first one has no ReLU before the image."""
    shortcut = x
    if not first:
        x = keras.layers.ReLU(dtype=dtype)(x)
    x = convolution(channels, 3, padding="same", kernel_initializer=_initial(), dtype=dtype)(x)
    x = keras.layers.ReLU(dtype=dtype)(x)
    x = convolution(channels, 3, padding="same", kernel_initializer=_initial(), dtype=dtype)(x)
    if halve:
        # Means and 1x1 convolutions commute, so the shortcut shrinks first.
        x = keras.layers.AveragePooling2D(2, dtype=dtype)(x)
        shortcut = keras.layers.AveragePooling2D(2, dtype=dtype)(shortcut)
    if halve or shortcut.shape[-1] != channels:
        shortcut = convolution(channels, 1, kernel_initializer=_initial(1.0), dtype=dtype)(shortcut)
    return keras.layers.Add(dtype=dtype)([x, shortcut])
