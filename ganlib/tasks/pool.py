"""A pool of generated images from earlier steps (Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828).

A discriminator that sees them forgets less of what it learned. While the pool fills up, new images are shown and
stored. After that, each new image is shown with probability 1/2; otherwise a stored image is shown, and the new one
takes its place. All choices are drawn with the global batch, from the seed and the number of the batch, so the images
are the only state. The images of a batch have different places in the pool, so their order does not matter.

Imports TensorFlow: import this module only where a task plays.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from ganlib import streams

SLOT, STORE, SHOW_STORED = "slot", "store", "show_stored"


def build(size: int, *, image_shape: tuple[int, int, int], batch_size: int) -> keras.Variable:
    """Returns an empty pool: float32 [size, H, W, C], the size rounded down to complete batches.

    Raises:
        ValueError: The pool is smaller than a batch.
    """
    return keras.Variable(
        lambda shape, dtype: tf.zeros(shape, dtype),
        shape=(capacity(size, batch_size), *image_shape),
        dtype="float32",
        trainable=False,
        aggregation="only_first_replica",
        name="pool",
    )


def capacity(size: int, batch_size: int) -> int:
    """Returns the number of images in a pool: its size, rounded down to complete batches.

    Raises:
        ValueError: The pool is smaller than a batch.
    """
    if size < batch_size:
        raise ValueError(
            "expected a pool of at least one batch, or none (task.pool_size=0). "
            f"Received: task.pool_size={size}, training.batch_size={batch_size}"
        )
    return size - size % batch_size


def draw(batch_size: int, size: int, *, key: int, number: tf.Tensor) -> dict[str, tf.Tensor]:
    """Draws what happens to each new image of a global batch.

    Args:
        batch_size: Images in the batch.
        size: Size of the pool, at least that of a batch.
        key: Key of the stream.
        number: Number of the batch, int64.

    Returns:
        `slot` int32 [N], its place in the pool; `store` bool [N], whether it is stored there; `show_stored` bool [N],
        whether the image from that place is shown instead.
    """
    full, stream = capacity(size, batch_size), streams.pair(key, number)
    order = tf.random.experimental.stateless_shuffle(tf.range(full), stream)[:batch_size]
    first = tf.cast(tf.minimum(number * batch_size, full), tf.int32)
    filling = tf.fill([batch_size], first < full)
    chosen = tf.random.stateless_uniform([batch_size], stream) < 0.5
    slot = tf.where(filling, tf.minimum(first + tf.range(batch_size), full - 1), order)
    return {SLOT: slot, STORE: filling | chosen, SHOW_STORED: ~filling & chosen}


def exchange(pool: keras.Variable, fake: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the images to show the discriminator, and stores new ones in the pool.

    Args:
        pool: The pool.
        fake: New images of this replica, float32 [n, H, W, C]. No gradient reaches them.
        drawn: What `draw` returned, this replica's part.
    """
    fake = tf.stop_gradient(tf.cast(fake, tf.float32))
    shown = tf.where(drawn[SHOW_STORED][:, None, None, None], tf.gather(pool.value, drawn[SLOT]), fake)
    slots, stored, store = _of_all_replicas(drawn[SLOT], fake, drawn[STORE])
    images = tf.where(store[:, None, None, None], stored, tf.gather(pool.value, slots))
    with tf.control_dependencies([shown]):
        pool.assign(tf.tensor_scatter_nd_update(pool.value, slots[:, None], images))
    return shown


def _of_all_replicas(*values: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Returns the values of the global batch, so that every replica stores the same images."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return tuple(context.all_gather(value, axis=0) for value in values)
