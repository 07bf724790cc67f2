"""Layers that Keras lacks. Imports TensorFlow: architectures import this module only when they build."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

PHILOX = 1
SCRAMBLING_KEY = 0x02461E293EC8F720  # TensorFlow's, by which a seed becomes a key and a counter
NUMBERS_PER_BLOCK = 8  # Philox gives 128 bits for each value of its counter: here eight numbers of 16 bits
LEVELS = 2**16


class _CallCounter(keras.random.SeedGenerator):
    """Keras' seed state, [seed, number of calls], in a form that replicas may update.

    Being a seed generator, it is saved with the network's variables but is no weight of it.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.state = keras.Variable(
            np.array([seed, 0]),
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
            name="seed_generator_state",
        )


class ReplicaDropout(keras.layers.Layer):
    """Dropout whose mask does not depend on how a batch is spread over replicas.

    Keras' own layer draws from a state that cannot be updated under `tf.distribute`. Here the mask
    of a global batch is one stretch of a counter-based random stream (Salmon et al. 2011): each
    replica starts the counter where its share of the batch begins, so N replicas drop exactly the
    activations that one would have dropped.

    Args:
        rate: Share of activations to drop, in [0, 1).
        seed: Chooses the stream: a key of `streams`, so that no two layers drop alike.
        dtype: Keras dtype policy.
    """

    def __init__(self, rate: float, *, seed: int, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self._rate = rate
        self._seed = seed
        self._counter = _CallCounter(seed)

    def call(self, inputs: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """Drops activations in training and scales the rest; passes them through otherwise."""
        if not training or self._rate == 0.0:
            return inputs
        # 16 bits decide an activation: half the random numbers of 32, and the rate is met to 1 in 65,536.
        threshold = round(self._rate * LEVELS)
        mask = tf.cast(self._random(tf.shape(inputs), self._counter.next()) >= threshold, inputs.dtype)
        return inputs * (mask * (LEVELS / (LEVELS - threshold)))

    def _random(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Uniform uint16 numbers of the given shape, a slice of the global batch's stream."""
        per_image = tf.reduce_prod(shape[1:])
        blocks = -(-per_image // NUMBERS_PER_BLOCK)
        key, counter = _key_and_counter(seed)
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context is not None else 0
        offset = tf.cast(tf.cast(replica, tf.int64) * tf.cast(shape[0] * blocks, tf.int64), tf.uint64)
        counter = tf.concat([counter[:1] + offset, counter[1:]], axis=0)
        words = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=[shape[0], blocks * NUMBERS_PER_BLOCK // 2], key=key, counter=counter, alg=PHILOX, dtype=tf.uint32
        )
        numbers = tf.reshape(tf.bitcast(words, tf.uint16), [shape[0], blocks * NUMBERS_PER_BLOCK])
        return tf.reshape(numbers[:, :per_image], shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Dropout keeps the shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds the layer."""
        return {**super().get_config(), "rate": self._rate, "seed": self._seed}


def _key_and_counter(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what `StatelessRandomGetKeyCounter` makes of a seed, int64 [2]: uint64 [1] and [2].

    XLA's version of that operation drops the upper half of a seed, so a compiled network would drop other activations.
    """
    mixed = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[2],
        key=tf.constant([SCRAMBLING_KEY], tf.uint64),
        counter=tf.bitcast(seed, tf.uint64),
        alg=PHILOX,
        dtype=tf.uint64,
    )
    return mixed[:1], tf.concat([tf.zeros([1], tf.uint64), mixed[1:]], axis=0)
