"""A modern network without normalisation: R3GAN (Huang et al. 2024, https://arxiv.org/abs/2501.05441)."""

from __future__ import annotations

import math
from typing import Any, Literal

from etils import epy
from pydantic import Field, model_validator

from ganlib.models.base import ImageShape
from ganlib.models.conditions import join_class, network_inputs, projection_logits
from ganlib.models.pyramid import Pyramid

with epy.lazy_imports():
    import keras

LEAK = 0.2
POINTWISE, SPATIAL = 1, 3

Tensor = Any  # keras.KerasTensor, and no types come with it


class R3gan(Pyramid):
    """Residual blocks 1x1, 3x3, 1x1 with leaky ReLU and nothing that normalises; made for the game `relativistic`.

    Each block starts as the identity (its last kernel is zero) and the others are scaled by the number of blocks
    (Fixup: Zhang et al. 2019, https://arxiv.org/abs/1901.09321), so depth does not blow up what batch norm used to
    hold. The generator starts from a learned map whose channels the latent scales; the discriminator mirrors it. A
    class is appended to the latent and projected in the discriminator. Unlike the paper's, images end in tanh.
    """

    kind: Literal["r3gan"] = "r3gan"
    width: int = Field(default=32, ge=4)
    """Channels of the stage nearest to the image; each further stage doubles them."""
    max_width: int = Field(default=256, ge=4)
    """Upper bound of the channels. The paper has 768 at the smallest maps."""
    blocks: int = Field(default=1, ge=1)
    """Residual blocks at each size of map; the paper has 2."""
    expansion: int = Field(default=2, ge=1)
    """How many times wider the 3x3 convolutions are."""
    groups: int = Field(default=1, ge=1)
    """Groups of the 3x3 convolutions, a divisor of `width * expansion` and `max_width * expansion`. The paper has
    groups of 16 channels; on CPUs TensorFlow takes 39 times as long for these as for one group."""

    @model_validator(mode="after")
    def _groups_divide(self) -> R3gan:
        widest = max(self.width, self.max_width)
        if self.width * self.expansion % self.groups or widest * self.expansion % self.groups:
            raise ValueError(
                "groups must divide width * expansion and max_width * expansion. Received: "
                f"groups={self.groups}, width={self.width}, max_width={self.max_width}, expansion={self.expansion}"
            )
        return self

    def generator(self, *, latent_dim: int, image_shape: ImageShape, classes: int, dtype: str) -> keras.Model:
        """Builds the generator."""
        self.check(image_shape)
        stages, (height, width) = self.stages(image_shape), self.base(image_shape)
        start = self.channels(stages)
        inputs, latent, known = network_inputs("latent", (latent_dim,), classes)
        x = keras.layers.Dense(start, use_bias=False, kernel_initializer=_initial(), dtype=dtype)(
            join_class(latent, known)
        )
        # The learned map times what the latent says of each channel, as a stock layer: its kernel is the map.
        normal = keras.initializers.RandomNormal(stddev=1.0)
        basis = keras.layers.EinsumDense("nc,hwc->nhwc", (height, width, start), kernel_initializer=normal, dtype=dtype)
        x = self._blocks(basis(x), stages, dtype)
        for stage in reversed(range(stages)):
            x = _match_channels(x, self.channels(stage), dtype)
            x = keras.layers.UpSampling2D(interpolation="bilinear", dtype=dtype)(x)
            x = self._blocks(x, stages, dtype)
        x = _convolution(image_shape[2], POINTWISE, dtype=dtype)(x)
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(inputs, images, name="generator")

    def discriminator(self, *, image_shape: ImageShape, classes: int, dtype: str, seed: int) -> keras.Model:
        """Builds the discriminator."""
        del seed  # nothing inside is random
        self.check(image_shape)
        stages, (height, width) = self.stages(image_shape), self.base(image_shape)
        inputs, images, known = network_inputs("images", image_shape, classes)
        x = _convolution(self.channels(0), POINTWISE, dtype=dtype)(images)
        x = self._blocks(x, stages, dtype)
        for stage in range(stages):
            x = keras.layers.AveragePooling2D(2, dtype=dtype)(x)
            x = _match_channels(x, self.channels(stage + 1), dtype)
            x = self._blocks(x, stages, dtype)
        mean = keras.initializers.RandomNormal(
            stddev=1.0 / math.sqrt(height * width)
        )  # each output sums so many places
        x = keras.layers.EinsumDense("nhwc,hwc->nc", (self.channels(stages),), kernel_initializer=mean, dtype=dtype)(x)
        logits = projection_logits(x, known, dense=keras.layers.Dense, initial=_initial)
        return keras.Model(inputs, logits, name="discriminator")

    def _blocks(self, x: Tensor, stages: int, dtype: str) -> Tensor:
        """The residual blocks at one size of map."""
        channels = x.shape[-1]
        wide = channels * self.expansion
        # He's variance times L^(-1 / (m - 1)) for L blocks of m = 3 layers.
        variance = 2.0 / (1.0 + LEAK**2) / math.sqrt(self.blocks * (stages + 1))
        for _ in range(self.blocks):
            shortcut = x
            for kernel, groups in ((POINTWISE, 1), (SPATIAL, self.groups)):
                x = _convolution(wide, kernel, variance=variance, groups=groups, use_bias=True, dtype=dtype)(x)
                x = keras.layers.LeakyReLU(negative_slope=LEAK, dtype=dtype)(x)
            x = _convolution(channels, POINTWISE, variance=0.0, dtype=dtype)(x)
            x = keras.layers.Add(dtype=dtype)([x, shortcut])
        return x


def _initial(variance: float = 1.0) -> keras.initializers.Initializer:
    """Normal weights that multiply the variance of what they sum."""
    if variance == 0.0:
        return keras.initializers.Zeros()
    return keras.initializers.VarianceScaling(variance, mode="fan_in", distribution="untruncated_normal")


def _convolution(
    channels: int, kernel: int, *, variance: float = 1.0, groups: int = 1, use_bias: bool = False, dtype: str
) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        channels,
        kernel,
        padding="same",
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=_initial(variance),
        dtype=dtype,
    )


def _match_channels(x: Tensor, channels: int, dtype: str) -> Tensor:
    """Changes the channels where they differ, at the smaller of two maps for it commutes with resampling."""
    return x if x.shape[-1] == channels else _convolution(channels, POINTWISE, dtype=dtype)(x)
