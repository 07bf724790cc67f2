"""Fast Fourier convolutions for repairs: the generator of LaMa (Suvorov et al. 2022, https://arxiv.org/abs/2109.07161)."""

from __future__ import annotations

from typing import Any, Literal

from etils import epy
from pydantic import Field, model_validator

from ganlib.models.base import ImageShape
from ganlib.models.conditions import batch_norm, network_inputs
from ganlib.models.convolutions import Upsampling, reflect, upsample
from ganlib.models.patch import PatchDiscriminator
from ganlib.models.spectrum import Waves, from_spectrum, spectrum

with epy.lazy_imports():
    import keras

OUTER, INNER = 7, 3  # kernels

Tensor = Any  # keras.KerasTensor, and no types come with it


class Fourier(PatchDiscriminator):
    """Residual blocks at a fraction of the size, most of whose channels are convolved in the Fourier domain.

    A convolution there sees the whole image, so that a hole of any size has known pixels in sight from the first block
    on (Chi, Jiang, Mu 2020: fast Fourier convolution). The other channels have 3x3 convolutions. Batch norm, mirrored
    borders. Unlike LaMa's, images end in tanh.
    """

    kind: Literal["fourier"] = "fourier"
    width: int = Field(default=64, ge=2)
    """Channels at the size of the image; they double at each halving."""
    halvings: int = Field(default=3, ge=1, le=6)
    """How often the image is halved before the residual blocks: its sides must be multiples of 2**halvings."""
    blocks: int = Field(default=9, ge=1)
    """Residual blocks. LaMa has 9, its big network 18."""
    global_ratio: float = Field(default=0.75, gt=0.0, lt=1.0)
    """Share of a residual block's channels that are convolved in the Fourier domain."""
    gated: bool = False
    """Whether each convolution outside of the residual blocks has a gate: a second one, through a sigmoid, that it is
    multiplied with (Yu et al. 2019, https://arxiv.org/abs/1806.03589). It learns where pixels are to be trusted."""
    upsampling: Upsampling = "resize"
    """How a map is doubled: `resize` (nearest pixels, then a convolution) leaves no checkerboard; `transposed`
    convolutions are LaMa's."""
    discriminator_layers: int = Field(default=4, ge=0, le=6)
    """Convolutions of the discriminator that halve the image. They choose the side of the patch that a logit sees: 1,
    16, 34, 70, 142, 286 or 574 pixels for 0 to 6 layers."""

    @model_validator(mode="after")
    def _check_split(self) -> Fourier:
        channels = self.width * 2**self.halvings
        if not 2 <= int(channels * self.global_ratio) < channels:
            raise ValueError(
                "expected global_ratio to leave channels in both parts of a block, two at least in the Fourier domain. "
                f"Received: global_ratio={self.global_ratio}, width={self.width}, halvings={self.halvings}"
            )
        return self

    @property
    def mixes_images(self) -> bool:
        """True, since it has batch norm."""
        return True

    @property
    def multiple_of(self) -> int:
        """Two to the power of the halvings."""
        return 2**self.halvings

    @property
    def smallest(self) -> int:
        """A mirrored border needs two pixels at the smallest map and four at the largest."""
        return 2 * self.multiple_of

    def generator(self, *, image_shape: ImageShape, channels: int, dtype: str, seed: int | None) -> keras.Model:
        """Builds the generator."""
        del seed  # nothing inside is random
        self.check(image_shape)
        inputs, image, _ = network_inputs("image", (None, None, image_shape[2]), 0)
        x = self._activate(_convolution(self._filters(0), OUTER, dtype=dtype)(reflect(image, OUTER // 2)), dtype)
        for halving in range(1, self.halvings + 1):
            halve = _convolution(self._filters(halving), INNER, strides=2, dtype=dtype)
            x = self._activate(halve(reflect(x, INNER // 2)), dtype, name=f"feature_{halving - 1}")
        waves = Waves.of(x)
        for block in range(self.blocks):
            inner = self._fourier_convolution(self._fourier_convolution(x, waves, dtype), waves, dtype)
            x = keras.layers.Add(dtype=dtype, name=f"feature_{self.halvings + block}")([x, inner])
        for halving in reversed(range(self.halvings)):
            settings = {"use_bias": self.gated, "kernel_initializer": _initial(), "dtype": dtype}
            filters = self._filters(halving)
            x = upsample(x, filters, upsampling=self.upsampling, kernel=INNER, settings=settings)
            x = self._activate(x, dtype)
        x = _convolution(channels, OUTER, use_bias=True, dtype=dtype)(reflect(x, OUTER // 2))
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(inputs, images, name="generator")

    def _filters(self, halving: int) -> int:
        """Channels that a convolution outside of the blocks makes, those of its gate among them."""
        return self.width * 2**halving * (2 if self.gated else 1)

    def _activate(self, x: Tensor, dtype: str, *, name: str | None = None) -> Tensor:
        """Batch norm and ReLU, times the gate where there is one."""
        if not self.gated:
            return keras.layers.ReLU(dtype=dtype, name=name)(batch_norm(x, dtype=dtype))
        features, gate = keras.ops.split(x, 2, axis=-1)
        features = keras.layers.ReLU(dtype=dtype)(batch_norm(features, dtype=dtype))
        gate = keras.layers.Activation("sigmoid", dtype=dtype)(gate)
        return keras.layers.Multiply(dtype=dtype, name=name)([features, gate])

    def _fourier_convolution(self, x: Tensor, waves: Waves, dtype: str) -> Tensor:
        """A fast Fourier convolution: channels of both kinds see both kinds, and only the global ones the spectrum."""
        channels = x.shape[-1]
        outside = int(channels * self.global_ratio)
        inside = channels - outside
        bordered = reflect(x, INNER // 2)
        local = _convolution(inside, INNER, dtype=dtype)(bordered)
        to_global = _convolution(outside, INNER, dtype=dtype)(bordered[..., :inside])
        across = keras.layers.Add(dtype=dtype)([to_global, _spectral_transform(x[..., inside:], waves, dtype)])
        x = keras.layers.Concatenate(dtype=dtype)([local, across])
        return keras.layers.ReLU(dtype=dtype)(batch_norm(x, dtype=dtype))


def _spectral_transform(x: Tensor, waves: Waves, dtype: str) -> Tensor:
    """A 1x1 convolution of the spectrum at half the channels, and what it had at each place beside it."""
    channels = x.shape[-1]

    def pointwise(values: Tensor, filters: int) -> Tensor:
        values = _convolution(filters, 1, dtype=dtype)(values)
        return keras.layers.ReLU(dtype=dtype)(batch_norm(values, dtype=dtype))

    x = pointwise(x, channels // 2)
    frequencies = pointwise(spectrum(x, waves), 2 * (channels // 2))
    x = keras.layers.Add(dtype=dtype)([x, from_spectrum(frequencies, waves)])
    return _convolution(channels, 1, dtype=dtype)(x)


def _initial() -> keras.initializers.Initializer:
    """The initial weights of the authors' framework."""
    return keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")


def _convolution(
    filters: int, kernel: int, *, strides: int = 1, use_bias: bool = False, dtype: str
) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        filters, kernel, strides=strides, use_bias=use_bias, kernel_initializer=_initial(), dtype=dtype
    )
