"""The loss PatchNCE (Park et al. 2020, https://arxiv.org/abs/2007.15651).

A place of a translated image should be closer to the same place of the original than to other places of the original.
What is compared are features of both images, each projected by a small network. All places are chosen by numbers that
are drawn with the global batch.

Imports TensorFlow: import this module only where a task plays.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from ganlib import streams

BORDER = 8  # pixels around the image for which numbers are drawn too, since a map may have a border
GAIN = 0.02  # of the initial weights, the authors'
TINY = 1e-7  # added to the norm of a projection


def head(channels: int, width: int, *, name: str) -> keras.Model:
    """Builds a network of two layers that projects features, float32 [N, P, channels], to [N, P, width]."""

    def dense(activation: str | None) -> keras.layers.Layer:
        # Xavier's normal distribution, scaled.
        initial = keras.initializers.VarianceScaling(GAIN**2, "fan_avg", "untruncated_normal")
        return keras.layers.Dense(width, activation, kernel_initializer=initial, dtype="float32")

    return keras.Sequential([keras.Input((None, channels), dtype="float32"), dense("relu"), dense(None)], name=name)


def draw_numbers(images: tf.Tensor, *, key: int, number: tf.Tensor) -> tf.Tensor:
    """Draws what `choose_places` needs for each image of a global batch.

    Args:
        images: [N, H, W, C].
        key: Key of the stream.
        number: Number of the batch, int64.

    Returns:
        float32 [N, (H + 16) * (W + 16)] in 0..1.
    """
    count, height, width = images.shape[:3]
    shape = [count, (height + 2 * BORDER) * (width + 2 * BORDER)]
    return tf.random.stateless_uniform(shape, streams.pair(key, number))


def choose_places(numbers: tf.Tensor, *, size: int, patches: int, start: float) -> tf.Tensor:
    """Chooses different places of a map, all with the same probability: those with the largest numbers.

    Args:
        numbers: float32 [N, R].
        size: Places of the map, height times width.
        patches: Places to choose.
        start: Fraction of the numbers, in [0, 1), from which on they are used. Layers that start elsewhere have other
            places.

    Returns:
        int32 [N, min(patches, size)], row by row as the map is flattened.

    Raises:
        ValueError: The map is larger than an image with a border.
    """
    drawn = numbers.shape[1]
    if size > drawn:
        raise ValueError(f"expected features of at most {drawn} places, the image and a border. Received: {size}")
    return tf.math.top_k(tf.roll(numbers, -int(start * drawn), axis=1)[:, :size], min(patches, size)).indices


def project(network: keras.Model, features: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Projects the features at some places to unit vectors.

    Args:
        network: What `head` built.
        features: [N, h, w, C].
        places: int32 [N, P].

    Returns:
        float32 [N, P, width].
    """
    flat = tf.reshape(tf.cast(features, tf.float32), [-1, features.shape[1] * features.shape[2], features.shape[3]])
    projected = network(tf.gather(flat, places, batch_dims=1))
    squared = tf.reduce_sum(tf.square(projected), axis=-1, keepdims=True)
    # Features of zero are projected to zero as long as biases are zero. The gradient of the root would not be finite.
    norm = tf.sqrt(tf.where(squared > 0.0, squared, 1.0))
    return projected / (norm + TINY)


def patch_nce(query: tf.Tensor, key: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Returns the mean cross-entropy of finding the key of each query among all keys of the same image, a scalar.

    Args:
        query: Unit vectors of the translated images, float32 [N, P, D].
        key: Unit vectors of the originals at the same places. No gradient reaches them.
        temperature: What similarities are divided by.
    """
    similarities = tf.matmul(query, tf.stop_gradient(key), transpose_b=True) / temperature
    labels = tf.broadcast_to(tf.range(query.shape[1]), tf.shape(similarities)[:2])
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, similarities))
