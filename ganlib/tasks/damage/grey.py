"""Images without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib.tasks.damage.base import Damage, Damaged

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.models.base import ImageShape

WEIGHTS = (19595, 38470, 7471)  # of red, green and blue in 65536, as in Pillow: 0.299, 0.587, 0.114


class Grey(Damage):
    """The luminance of ITU-R BT.601 in all three channels, exactly as Pillow converts a picture to grey."""

    kind: Literal["grey"] = "grey"

    def apply(self, images: tf.Tensor, keys: tf.Tensor) -> Damaged:
        """Removes the colour of each image. Nothing is random."""
        del keys
        weighted = tf.cast(images, tf.int32) * tf.constant(WEIGHTS)
        grey = tf.bitwise.right_shift(tf.reduce_sum(weighted, axis=3, keepdims=True) + 2**15, 16)
        return Damaged(tf.repeat(tf.cast(grey, tf.uint8), 3, axis=3))

    def check(self, image_shape: ImageShape) -> None:
        """Refuses images that are grey."""
        if image_shape[2] != 3:
            raise ValueError(f"expected images in colour for damage=grey. Received: image_shape={image_shape}")
