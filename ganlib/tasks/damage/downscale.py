"""Low resolution: the restorer finds the details of an enlarged image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy
from pydantic import Field

from ganlib.tasks.damage.base import Damage, Damaged, as_pixels

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.models.base import ImageShape


class Downscale(Damage):
    """A smaller image, enlarged to its former size. Both steps are bicubic, as in Pillow, and rounded."""

    kind: Literal["downscale"] = "downscale"
    factor: Literal[2, 3, 4, 8] = Field(default=4)
    """Factor between the sides, which must be multiples of it."""

    def apply(self, images: tf.Tensor, keys: tf.Tensor) -> Damaged:
        """Shrinks each image with antialiasing, and enlarges it. Nothing is random."""
        del keys
        height, width = images.shape[1:3]
        small = as_pixels(_resize(images, height // self.factor, width // self.factor))
        return Damaged(as_pixels(_resize(small, height, width)))

    def check(self, image_shape: ImageShape) -> None:
        """Refuses sides that are no multiples of the factor."""
        height, width, _ = image_shape
        if height % self.factor or width % self.factor:
            expected = f"sides that are multiples of {self.factor} for damage.factor={self.factor}"
            raise ValueError(f"expected {expected}. Received: image_shape={image_shape}")


def _resize(images: tf.Tensor, height: int, width: int) -> tf.Tensor:
    return tf.image.resize(images, [height, width], method="bicubic", antialias=True)
