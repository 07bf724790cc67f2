"""The U-Net of pix2pix (Isola et al. 2017, https://arxiv.org/abs/1611.07004)."""

from __future__ import annotations

from typing import Any, Literal

from etils import epy
from pydantic import Field

from ganlib import streams
from ganlib.models.base import ImageShape
from ganlib.models.conditions import network_inputs
from ganlib.models.convolutions import LEAK, Upsampling, normal, normalise, upsample
from ganlib.models.patch import PatchDiscriminator
from ganlib.models.pyramid import Doubling

with epy.lazy_imports():
    import keras

KERNEL, FLAT_KERNEL = 4, 3  # where the size changes, and where it does not
SHALLOWEST, DEEPEST = 2, 8  # where the image chooses the depth
DROPPED = 3  # levels of the decoder with dropout, from the smallest map on

Tensor = Any  # keras.KerasTensor, and no types come with it


class Unet(Doubling, PatchDiscriminator):
    """An encoder, and a decoder that sees the encoder's map at each level, so that the details stay in place.

    With `upsampling=transposed` it is, at 256 pixels, `unet_256` of the paper's authors. It has no map as large as the
    image. With `convolutions` it has one, as the first U-Net did (Ronneberger, Fischer, Brox 2015,
    https://arxiv.org/abs/1505.04597).
    """

    kind: Literal["unet"] = "unet"
    depth: int | None = Field(default=None, ge=1, le=10)
    """How often the image is halved: its sides must be multiples of 2**depth. By default as often as both sides of the
    image allow, up to 8 times."""
    convolutions: int = Field(default=0, ge=0, le=4)
    """3x3 convolutions at each size, that of the image among them, in the encoder and again in the decoder; a map of a
    single pixel has none. pix2pix has none at all. One or two help where each pixel matters, as in restoration."""
    norm: Literal["batch", "instance", "none"] = "batch"
    """Normalisation of the generator: batch norm; instance norm, which sees each image alone; or none, which is fastest
    and keeps the brightness and the contrast of an image. Without norm, weights begin as in He et al. 2015
    (https://arxiv.org/abs/1502.01852)."""
    dropout: float = Field(default=0.5, ge=0.0, le=0.99)
    """Dropout rate of the generator in the first three levels of its decoder, in training only."""
    upsampling: Upsampling = "resize"
    """How the decoder doubles a map: `resize` (nearest pixels, then a convolution) leaves no checkerboard; `transposed`
    convolutions are the classic."""

    @property
    def mixes_images(self) -> bool:
        """Whether it has batch norm, which a single level without further convolutions has not."""
        return self.norm == "batch" and (self.depth != 1 or self.convolutions > 0)

    @property
    def multiple_of(self) -> int:
        """Two to the power of the depth, or of the smallest one that an image may choose."""
        return 2 ** (SHALLOWEST if self.depth is None else self.depth)

    @property
    def smallest(self) -> int:
        """At the innermost level one pixel must remain."""
        return self.multiple_of

    def multiple_at(self, image_shape: ImageShape) -> int:
        """Two to the power of the depth that the image chooses."""
        return 2 ** self.levels(image_shape)

    def smallest_at(self, image_shape: ImageShape) -> int:
        """Twice the multiple where instance norm sees the innermost map, since it would make zero of a single pixel."""
        normalised = self.norm == "instance" and not self._ends_in_a_pixel(image_shape)
        return self.multiple_at(image_shape) * (2 if normalised else 1)

    def _ends_in_a_pixel(self, image_shape: ImageShape) -> bool:
        """Whether a side of the innermost map is a single pixel."""
        return min(image_shape[:2]) == self.multiple_at(image_shape)

    def levels(self, image_shape: ImageShape) -> int:
        """Returns the depth of the generator for an image shape."""
        if self.depth is not None:
            return self.depth
        height, width, _ = image_shape
        return max(level for level in range(DEEPEST + 1) if height % 2**level == 0 and width % 2**level == 0)

    def generator(self, *, image_shape: ImageShape, channels: int, dtype: str, seed: int | None) -> keras.Model:
        """Builds the generator."""
        self.check(image_shape)
        depth = self.levels(image_shape)
        inputs, x, _ = network_inputs("image", (None, None, image_shape[2]), 0)
        # A norm of a single pixel would be zero in instance norm and is noise at small batches.
        single = self._ends_in_a_pixel(image_shape)
        full = x = self._convolve(x, self._full_channels, dtype, leaky=True)
        maps = []
        for level in range(depth):
            innermost = level == depth - 1
            x = keras.layers.Conv2D(self.channels(level), KERNEL, strides=2, padding="same", **self._settings(dtype))(x)
            if level > 0 and not (single and innermost):
                x = normalise(x, self.norm, dtype=dtype)
            x = _activate(x, dtype, leaky=not innermost, name=f"feature_{level}")
            if not (single and innermost):
                x = self._convolve(x, self.channels(level), dtype, leaky=not innermost)
            maps.append(x)
        for level in reversed(range(1, depth)):
            x = self._join(maps[level - 1], self._up(x, level, depth, seed, dtype), dtype)
        x = self._last(x, full, channels, dtype)
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(inputs, images, name="generator")

    @property
    def _full_channels(self) -> int:
        """Channels of the maps that are as large as the image, if there are any."""
        return self.width // 2

    def _last(self, x: Tensor, full: Tensor, channels: int, dtype: str) -> Tensor:
        """Makes images, before their activation, from the largest map of the decoder and `full` of the encoder."""
        settings = {**self._settings(dtype), "use_bias": True}
        if not self.convolutions:
            return upsample(x, channels, upsampling=self.upsampling, kernel=KERNEL, settings=settings)
        x = upsample(x, self._full_channels, upsampling=self.upsampling, kernel=KERNEL, settings=self._settings(dtype))
        x = self._join(full, normalise(x, self.norm, dtype=dtype), dtype)
        return keras.layers.Conv2D(channels, FLAT_KERNEL, padding="same", **settings)(x)

    def _join(self, kept: Tensor, x: Tensor, dtype: str) -> Tensor:
        """Puts a map of the decoder beside that of the encoder of the same size, and convolves both to its channels."""
        joined = keras.layers.Concatenate(dtype=dtype)([kept, x])
        return self._convolve(_activate(joined, dtype, leaky=False), x.shape[-1], dtype)

    def _convolve(self, x: Tensor, channels: int, dtype: str, *, leaky: bool = False) -> Tensor:
        """Applies the convolutions at one size, each with norm and activation."""
        for _ in range(self.convolutions):
            x = keras.layers.Conv2D(channels, FLAT_KERNEL, padding="same", **self._settings(dtype))(x)
            x = _activate(normalise(x, self.norm, dtype=dtype), dtype, leaky=leaky)
        return x

    def _up(self, x: Tensor, level: int, depth: int, seed: int | None, dtype: str) -> Tensor:
        """Doubles the map of a level to the size of the one before."""
        x = upsample(
            x, self.channels(level - 1), upsampling=self.upsampling, kernel=KERNEL, settings=self._settings(dtype)
        )
        x = normalise(x, self.norm, dtype=dtype)
        if seed is None or self.dropout == 0.0 or depth - level > DROPPED:
            return x
        from ganlib.models.layers import ReplicaDropout

        return ReplicaDropout(self.dropout, seed=streams.key("dropout", seed, level), dtype=dtype)(x)

    def _settings(self, dtype: str) -> dict[str, Any]:
        # Under batch norm the authors' code has no biases, also in the two convolutions that no norm follows.
        initial = keras.initializers.HeNormal() if self.norm == "none" else normal()
        return {"use_bias": self.norm != "batch", "kernel_initializer": initial, "dtype": dtype}


def _activate(x: Tensor, dtype: str, *, leaky: bool, name: str | None = None) -> Tensor:
    """Applies ReLU, or the leaky one of the encoder."""
    if leaky:
        return keras.layers.LeakyReLU(negative_slope=LEAK, dtype=dtype, name=name)(x)
    return keras.layers.ReLU(dtype=dtype, name=name)(x)
