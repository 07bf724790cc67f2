"""Which random stream is for what: each has its purpose in its seed, so no two of them ever draw the same.

A stream is chosen by a key, a hash of its purpose and of the numbers that tell it from others of that purpose, such as
the run's seed. The generators of Python, NumPy and Keras are seeded with the key, and TensorFlow's stateless functions
with the key beside a number that counts on, such as that of the batch.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

Purpose = Literal[
    # of a preparation
    "survey",
    # of a training
    "weights",
    "dropout",
    "order",
    "window",
    "mirroring",
    "noise",
    "latents",
    "augmentation",
    "penalty",
    # of samples
    "sample latents",
    "sample classes",
    "sample inputs",
    "training score",
    "training sheet",
    "witness",
    "evaluation",
    "evaluation sheet",
    "classification accuracy",
    # of a feature space and its measures
    "extractor weights",
    "extractor order",
    "jackknife",
    "rows",
    "reference order",
]
LARGEST = 2**63  # keys are below: what an int64 holds


def key(purpose: Purpose, *numbers: int) -> int:
    """Returns the key of a stream, from 0 to 2**63 - 1.

    Args:
        purpose: What is drawn.
        numbers: What tells the stream from others of the purpose, such as a seed and the number of a layer.
    """
    digest = hashlib.sha256(" ".join([purpose, *map(str, numbers)]).encode()).digest()
    return int.from_bytes(digest[:8], "big") % LARGEST


def pair(first: int | tf.Tensor, second: int | tf.Tensor) -> tf.Tensor:
    """Returns the seed of TensorFlow's stateless functions, int64 [2], of a key and a number or two keys."""
    return tf.stack([tf.convert_to_tensor(first, tf.int64), tf.convert_to_tensor(second, tf.int64)])
