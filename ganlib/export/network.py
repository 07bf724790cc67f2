"""What is shipped: the generator behind a check of its inputs, as a Keras file and as a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import pixels

with epy.lazy_imports():
    import keras
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.tasks import Task

LABEL = "label"


def save_network(network: keras.Model, path: Path, *, classes: int) -> None:
    """Writes the Keras file of a generator; it refuses a label of no class.

    Args:
        network: The generator.
        path: The file.
        classes: Number of classes that can be asked for, 0 for none.
    """
    _checked(network, classes).save(path)


def _checked(network: keras.Model, classes: int) -> keras.Model:
    """Puts a layer before the label that raises where it is out of range.

    Without that the one-hot vector of such a label is zero, which gives a picture of no class. A lookup that has no
    place for unknown values is the one stock layer that raises for them, on each device and in `predict` too.
    """
    if classes == 0:
        return network
    inputs = {
        tensor.name: keras.Input(tensor.shape[1:], name=tensor.name, dtype=tensor.dtype) for tensor in network.inputs
    }
    known = list(range(classes))
    check = keras.layers.IntegerLookup(vocabulary=known, num_oov_indices=0, name="label_in_range")
    return keras.Model(inputs, network({**inputs, LABEL: check(inputs[LABEL])}), name=network.name)


def save_signatures(network: keras.Model, task: Task, folder: Path, *, classes: int) -> None:
    """Writes the SavedModel with the signatures `serving_default` and `generate`; both check what they are given.

    Args:
        network: The generator.
        task: Knows the network's inputs.
        folder: Folder to create.
        classes: Number of classes that can be asked for, 0 for none.
    """
    module = tf.Module()
    module.network = network
    served = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in network.inputs}
    numbers = {"seed": tf.int64, "count": tf.int32} | ({LABEL: tf.int64} if classes else {})
    drawn = {name: tf.TensorSpec([], dtype, name=name) for name, dtype in numbers.items()}

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": network(_checked_values(inputs, classes), training=False)}

    def generate(**asked: tf.Tensor) -> dict[str, tf.Tensor]:
        told = ["expected a count of at least 1. Received: count=", asked["count"]]
        with tf.control_dependencies([tf.debugging.Assert(asked["count"] >= 1, told)]):
            count = tf.identity(asked["count"])
        inputs = task.inputs(count, seed=asked["seed"], shares=(), label=asked.get(LABEL))
        return {"images": pixels.to_uint8(network(_checked_values(inputs, classes), training=False))}

    signatures = {
        "serving_default": tf.function(serve).get_concrete_function(**served),
        "generate": tf.function(generate).get_concrete_function(**drawn),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _checked_values(inputs: dict[str, tf.Tensor], classes: int) -> dict[str, tf.Tensor]:
    """Returns inputs behind checks in the graph, which refuse those that would give pictures of nothing."""
    arrays = {name: values for name, values in inputs.items() if name != LABEL}
    checks = [
        tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(values)), [f"expected finite numbers as {name}"])
        for name, values in arrays.items()
    ]
    if classes:
        label = inputs[LABEL]
        known = tf.reduce_all((label >= 0) & (label < classes))
        told = [f"expected labels in 0..{classes - 1}. Received: label=", label]
        checks.append(tf.debugging.Assert(known, told, summarize=-1))
        for name, values in arrays.items():
            sizes = tf.size(label), tf.shape(values)[0]
            told = [f"expected as many labels as {name}s. Received:", *sizes]
            checks.append(tf.debugging.Assert(tf.equal(*sizes), told))
    with tf.control_dependencies(checks):
        return {name: tf.identity(values) for name, values in inputs.items()}
