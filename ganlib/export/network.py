"""The exported networks, which check their inputs, as Keras files and as a SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib.tasks import LABEL, Signature

with epy.lazy_imports():
    import keras
    import tensorflow as tf

    from ganlib.tasks import checks

if TYPE_CHECKING:
    from ganlib.tasks import Task

SERVING = "serving_default"


def save_network(network: keras.Model, path: Path, *, classes: int) -> None:
    """Writes the Keras file of a network; it refuses a label that is out of range.

    Args:
        network: The network.
        path: The file.
        classes: Number of classes that can be asked for, 0 for none.
    """
    _with_label_check(network, classes).save(path)


def _with_label_check(network: keras.Model, classes: int) -> keras.Model:
    """Puts a layer before the label that raises where it is out of range.

    Without it the one-hot vector of such a label is zero, which gives an image of no class. A lookup without an index
    for unknown values is the only built-in layer that raises for them, on every device and also in `predict`.
    """
    if not _takes_label(network, classes):
        return network
    inputs = {
        tensor.name: keras.Input(tensor.shape[1:], name=tensor.name, dtype=tensor.dtype) for tensor in network.inputs
    }
    known = list(range(classes))
    check = keras.layers.IntegerLookup(vocabulary=known, num_oov_indices=0, name="label_in_range")
    return keras.Model(inputs, network({**inputs, LABEL: check(inputs[LABEL])}), name=network.name)


def signatures(
    networks: Mapping[str, keras.Model], task: Task, *, image_shape: tuple[int, int, int], classes: int
) -> dict[str, Signature]:
    """Returns every function of the SavedModel by name; all of them check what they are given.

    `serving_default` is the first network. Each further one has its own name, and the task adds functions.

    Args:
        networks: The shipped networks by name.
        task: Their task.
        image_shape: Height, width and channels of the images.
        classes: Number of classes that can be asked for, 0 for none.
    """
    functions = {
        name if place else SERVING: _served(network, classes) for place, (name, network) in enumerate(networks.items())
    }
    own = task.signatures(networks, image_shape=image_shape, classes=classes)
    if wrong := sorted(own.keys() & functions.keys()) or [name for name, one in own.items() if not one.example]:
        raise ValueError(
            f"expected functions of task={task.kind} with names of their own and an example each. Received: {wrong}"
        )
    return {**functions, **own}


def _takes_label(network: keras.Model, classes: int) -> bool:
    return classes > 0 and any(tensor.name == LABEL for tensor in network.inputs)


def _served(network: keras.Model, classes: int) -> Signature:
    """Returns a network as a function; the check in a fresh process compares it with the images of training."""

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": network(checks.checked(inputs, classes=known), training=False)}

    known = classes if _takes_label(network, classes) else 0
    specs = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in network.inputs}
    return Signature(serve, specs, example={})


def save_signatures(networks: Mapping[str, keras.Model], functions: Mapping[str, Signature], folder: Path) -> None:
    """Writes the SavedModel.

    Args:
        networks: The networks that the functions use.
        functions: What `signatures` returned.
        folder: Folder to create.
    """
    module = tf.Module()
    module.networks = dict(networks)
    saved: dict[str, Callable[..., dict[str, tf.Tensor]]] = {
        name: tf.function(signature.function).get_concrete_function(**signature.inputs)
        for name, signature in functions.items()
    }
    tf.saved_model.save(module, str(folder), signatures=saved)
