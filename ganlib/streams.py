"""Keys of random streams. A key depends on the purpose of its stream, so that no two streams draw the same numbers.

A key is a hash of the purpose and of numbers that distinguish streams of the same purpose, such as the run's seed. It
seeds the generators of Python, NumPy and Keras. TensorFlow's stateless functions are seeded with the key and a counter,
such as the number of the batch.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

Purpose = Literal[
    # preparation
    "survey",
    # training
    "weights",
    "dropout",
    "order",
    "window",
    "jitter",
    "mirroring",
    "noise",
    "latents",
    "augmentation",
    "penalty",
    "domain",
    "pool",
    "patches",
    "flips",
    "damage",
    "sample damage",
    "hidden information",
    # samples
    "sample latents",
    "sample classes",
    "sample inputs",
    "training score",
    "training sheet",
    "witness",
    "evaluation",
    "evaluation sheet",
    "classification accuracy",
    # feature spaces and measures
    "extractor weights",
    "extractor order",
    "jackknife",
    "rows",
    "reference order",
]
LARGEST = 2**63  # keys are below this, so that they fit in an int64


def key(purpose: Purpose, *numbers: int) -> int:
    """Returns the key of a stream, from 0 to 2**63 - 1.

    Args:
        purpose: The purpose of the stream.
        numbers: Numbers that distinguish streams of the same purpose, such as a seed and the number of a layer.
    """
    digest = hashlib.sha256(" ".join([purpose, *map(str, numbers)]).encode()).digest()
    return int.from_bytes(digest[:8], "big") % LARGEST


def pair(first: int | tf.Tensor, second: int | tf.Tensor) -> tf.Tensor:
    """Returns a seed for TensorFlow's stateless functions, int64 [2], from a key and a number or from two keys."""
    return tf.stack([tf.convert_to_tensor(first, tf.int64), tf.convert_to_tensor(second, tf.int64)])
