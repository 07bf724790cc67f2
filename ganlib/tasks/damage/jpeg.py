"""Traces of JPEG compression."""

from __future__ import annotations

from typing import Annotated, Literal

from etils import epy

from ganlib.tasks.damage.base import Damage, Damaged, between, ends, for_each

with epy.lazy_imports():
    import tensorflow as tf


class Jpeg(Damage):
    """An image that was saved as JPEG and opened again. Colours have half the resolution, as cameras save them."""

    kind: Literal["jpeg"] = "jpeg"
    quality: Annotated[int | tuple[int, int], between(1, 100)] = (10, 60)
    """Quality from 1 to 100. Two numbers: a range that each image draws from."""

    def apply(self, images: tf.Tensor, keys: tf.Tensor) -> Damaged:
        """Compresses each image."""
        return Damaged(for_each(self._compress, images, keys, dtype=tf.uint8))

    def _compress(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        low, high = ends(self.quality)
        quality = tf.random.stateless_uniform([], key, low, high + 1, tf.int32)
        file = tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality)
        decoded = tf.io.decode_jpeg(file, channels=image.shape[2], dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(decoded, image.shape)
