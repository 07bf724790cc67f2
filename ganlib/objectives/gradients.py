"""Gradients of the discriminator with respect to images, and penalties on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Discriminator


def squared_gradient_norms(discriminator: Discriminator, images: tf.Tensor) -> tf.Tensor:
    """Returns the squared norm of the gradient of each logit with respect to its image, float32 [N].

    The result is float32 even if the network computes in lower precision. The logit of an image must not depend on
    other images: the gradient is that of the sum of all logits, which batch norm would mix.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(tf.cast(discriminator(images), tf.float32))
    gradients = tf.cast(tape.gradient(total, images), tf.float32)
    return tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3])


def zero_centred_penalty(discriminator: Discriminator, images: tf.Tensor, *, weight: float) -> tf.Tensor:
    """Returns weight/2 E[|grad D|^2] (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9)."""
    return 0.5 * weight * tf.reduce_mean(squared_gradient_norms(discriminator, images))
