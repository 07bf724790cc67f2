"""How steep a discriminator is at given images: what gradient penalties are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Discriminator


def squared_slopes(discriminator: Discriminator, images: tf.Tensor) -> tf.Tensor:
    """Returns the squared norm of the gradient of each image's logit with respect to it, float32 [N].

    The gradient reaches the float32 images and is squared and summed there, however the network computes.
    An answer must depend on its own image alone: with batch norm the sum of the logits would mix them.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(tf.cast(discriminator(images), tf.float32))
    slopes = tf.cast(tape.gradient(total, images), tf.float32)
    return tf.reduce_sum(tf.square(slopes), axis=[1, 2, 3])


def zero_centred(discriminator: Discriminator, images: tf.Tensor, *, weight: float) -> tf.Tensor:
    """Returns weight/2 E[|grad D|^2] (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9)."""
    return 0.5 * weight * tf.reduce_mean(squared_slopes(discriminator, images))
