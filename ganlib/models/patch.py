"""Discriminators that judge patches (Isola et al. 2017, https://arxiv.org/abs/1611.07004)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from etils import epy
from pydantic import Field

from ganlib.models.base import ImageShape, ImageToImage
from ganlib.models.convolutions import LEAK, normal, normalise

with epy.lazy_imports():
    import keras

KERNEL = 4
WIDEST = 8  # times the width of the first convolution


class PatchDiscriminator(ImageToImage, ABC):
    """A family whose discriminator gives a logit for each patch: PatchGAN."""

    discriminator_layers: int = Field(default=3, ge=0, le=6)
    """Convolutions of the discriminator that halve the image. They choose the side of the patch that a logit sees: 1,
    16, 34, 70, 142, 286 or 574 pixels for 0 to 6 layers."""
    discriminator_width: int = Field(default=64, ge=1)
    """Channels of the discriminator's first convolution; each further one doubles them, up to eight times."""
    discriminator_norm: Literal["none", "instance", "batch", "spectral"] = "instance"
    """Normalisation of the discriminator: instance norm or batch norm in all convolutions but the first and the last;
    spectral norm of every weight; or none."""

    @property
    @abstractmethod
    def smallest(self) -> int:
        """Pixels that a side must have for the generator."""

    @property
    def judges_batches(self) -> bool:
        """Whether the discriminator has batch norm."""
        return self.discriminator_norm == "batch"

    def check(self, image_shape: ImageShape) -> None:
        """Refuses sizes that a network cannot halve as often as it must."""
        height, width, _ = image_shape
        # The last two convolutions do not halve. Each of them takes one pixel away, and one must remain.
        judged = 2 * 2**self.discriminator_layers + 1 if self.discriminator_layers else 1
        smallest = -(-max(self.smallest, judged) // self.multiple_of) * self.multiple_of
        if any(side % self.multiple_of or side < smallest for side in (height, width)):
            reason = f" (with discriminator_layers={self.discriminator_layers})" if judged > self.smallest else ""
            raise ValueError(
                f"{self.kind} takes images whose sides are multiples of {self.multiple_of} and at least {smallest} "
                f"pixels{reason}. Received: size={height}x{width}"
            )

    def discriminator(
        self, *, image_shape: ImageShape, classes: int, dtype: str, seed: int, condition_channels: int = 0
    ) -> keras.Model:
        """Builds the discriminator, which takes images of any size that `check` takes."""
        from ganlib.models.spectral import weight_layers

        del seed  # nothing inside is random
        self.check(image_shape)
        if classes:
            raise ValueError(f"{self.kind} has no classes in its discriminator. Received: classes={classes}")
        norm = "none" if self.discriminator_norm == "spectral" else self.discriminator_norm
        convolution, _ = weight_layers(spectral=self.discriminator_norm == "spectral")
        inputs = {"images": keras.Input((None, None, image_shape[2]), name="images", dtype="float32")}
        x = inputs["images"]
        if condition_channels:
            condition = keras.Input((None, None, condition_channels), name="condition", dtype="float32")
            inputs["condition"] = condition
            x = keras.layers.Concatenate(dtype=dtype)([x, condition])
        layers, kernel = self.discriminator_layers, KERNEL if self.discriminator_layers else 1
        for layer in range(max(layers, 1) + 1):
            settings = {"use_bias": norm != "batch" or layer == 0, "kernel_initializer": normal(), "dtype": dtype}
            filters = self.discriminator_width * min(2**layer, WIDEST)
            if layer < layers:
                x = convolution(filters, kernel, strides=2, padding="same", **settings)(x)
            else:
                x = convolution(filters, kernel, **settings)(_pad(x, kernel, dtype))
            if layer > 0:
                x = normalise(x, norm, dtype=dtype)
            x = keras.layers.LeakyReLU(negative_slope=LEAK, dtype=dtype, name=f"feature_{layer}")(x)
        logits = convolution(1, kernel, kernel_initializer=normal(), dtype="float32")(_pad(x, kernel, "float32"))
        return keras.Model(inputs, logits, name="discriminator")


def _pad(x: keras.KerasTensor, kernel: int, dtype: str) -> keras.KerasTensor:
    """Adds one pixel of zeros on each side, where Keras' `same` would add two on one side of a kernel of 4."""
    return keras.layers.ZeroPadding2D(1, dtype=dtype)(x) if kernel > 1 else x
