"""Checks of inputs inside the graph of a shipped function.

Imports TensorFlow: import this module only where a graph is built.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from ganlib.tasks.base import LABEL


def positive(number: tf.Tensor, *, name: str) -> tf.Tensor:
    """Returns a number after a check that it is at least 1."""
    message = [f"expected a {name} of at least 1. Received: {name}=", number]
    with tf.control_dependencies([tf.debugging.Assert(number >= 1, message)]):
        return tf.identity(number)


def checked(inputs: Mapping[str, tf.Tensor], *, classes: int) -> dict[str, tf.Tensor]:
    """Returns the inputs of a network after checks.

    Args:
        inputs: Arrays by name, all with the same first dimension.
        classes: Number of classes that `label` chooses from, 0 where there is no such input.
    """
    arrays = {name: values for name, values in inputs.items() if name != LABEL}
    asserts = [
        tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(values)), [f"expected finite numbers as {name}"])
        for name, values in arrays.items()
        if values.dtype.is_floating
    ]
    if classes:
        label = inputs[LABEL]
        known = tf.reduce_all((label >= 0) & (label < classes))
        message = [f"expected labels in 0..{classes - 1}. Received: label=", label]
        asserts.append(tf.debugging.Assert(known, message, summarize=-1))
    first, *others = [*arrays, *(name for name in inputs if name not in arrays)]
    for name in others:
        sizes = tf.shape(inputs[name])[0], tf.shape(inputs[first])[0]
        message = [f"expected as many {name}s as {first}s. Received:", *sizes]
        asserts.append(tf.debugging.Assert(tf.equal(*sizes), message))
    with tf.control_dependencies(asserts):
        return {name: tf.identity(values) for name, values in inputs.items()}
