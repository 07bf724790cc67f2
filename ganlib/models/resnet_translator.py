"""The residual generator of CycleGAN (Zhu et al. 2017, https://arxiv.org/abs/1703.10593)."""

from __future__ import annotations

from typing import Any, Literal

from etils import epy
from pydantic import Field

from ganlib.models.base import ImageShape
from ganlib.models.conditions import network_inputs
from ganlib.models.convolutions import Upsampling, normal, normalise, reflect, upsample
from ganlib.models.patch import PatchDiscriminator

with epy.lazy_imports():
    import keras

OUTER, INNER = 7, 3  # kernels
HALVINGS = 2
FEATURE_BLOCKS = (1, 5)

Tensor = Any  # keras.KerasTensor, and no types come with it


class ResnetTranslator(PatchDiscriminator):
    """Residual blocks at a quarter of the size, instance norm, mirrored borders; takes any size in steps of 4.

    It comes from Johnson et al. 2016, https://arxiv.org/abs/1603.08155. With `upsampling=transposed` it is CycleGAN's.
    The features of the encoder are those that CUT compares (Park et al. 2020, https://arxiv.org/abs/2007.15651): the
    image with its border, both halved maps, and the first and the fifth block.
    """

    kind: Literal["resnet_translator"] = "resnet_translator"
    width: int = Field(default=64, ge=1)
    """Channels at the size of the image; they double at each of the two halvings."""
    blocks: int = Field(default=9, ge=1)
    """Residual blocks. The paper has 9 from 256 pixels on and 6 below."""
    upsampling: Upsampling = "resize"
    """How a map is doubled: `resize` (nearest pixels, then a convolution) leaves no checkerboard; `transposed`
    convolutions are the classic."""

    @property
    def multiple_of(self) -> int:
        """The image is halved twice."""
        return 2**HALVINGS

    @property
    def smallest(self) -> int:
        """A mirrored border needs two pixels at the smallest map."""
        return 2 * self.multiple_of

    def generator(self, *, image_shape: ImageShape, channels: int, dtype: str, seed: int | None) -> keras.Model:
        """Builds the generator."""
        del seed  # nothing inside is random
        self.check(image_shape)
        inputs, image, _ = network_inputs("image", (None, None, image_shape[2]), 0)
        x = keras.layers.Identity(name="feature_0", dtype="float32")(reflect(image, OUTER // 2))
        x = _norm_relu(_convolution(self.width, OUTER, dtype=dtype)(x), dtype)
        for halving in range(1, HALVINGS + 1):
            halve = _convolution(
                self.width * 2**halving, INNER, strides=2, padding="same", name=f"feature_{halving}", dtype=dtype
            )
            x = _norm_relu(halve(x), dtype)
        names = {block: f"feature_{HALVINGS + 1 + place}" for place, block in enumerate(FEATURE_BLOCKS)}
        for block in range(1, self.blocks + 1):
            x = _block(x, names.get(block), dtype)
        for halving in reversed(range(HALVINGS)):
            settings = {"kernel_initializer": normal(), "dtype": dtype}
            x = upsample(x, self.width * 2**halving, upsampling=self.upsampling, kernel=INNER, settings=settings)
            x = _norm_relu(x, dtype)
        x = _convolution(channels, OUTER, dtype=dtype)(reflect(x, OUTER // 2))
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(inputs, images, name="generator")


def _convolution(filters: int, kernel: int, *, dtype: str, **settings: Any) -> keras.layers.Layer:
    # Instance norm takes the biases away again; the authors' network has them.
    return keras.layers.Conv2D(filters, kernel, kernel_initializer=normal(), dtype=dtype, **settings)


def _norm_relu(x: Tensor, dtype: str) -> Tensor:
    return keras.layers.ReLU(dtype=dtype)(normalise(x, "instance", dtype=dtype))


def _block(x: Tensor, name: str | None, dtype: str) -> Tensor:
    """A residual block; nothing follows its sum."""
    channels = x.shape[-1]
    inner = _norm_relu(_convolution(channels, INNER, dtype=dtype)(reflect(x, INNER // 2)), dtype)
    inner = _convolution(channels, INNER, dtype=dtype)(reflect(inner, INNER // 2))
    return keras.layers.Add(dtype=dtype, name=name)([x, normalise(inner, "instance", dtype=dtype)])
