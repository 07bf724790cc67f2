"""Tiny exported models, whose functions are known."""

import json

import numpy as np
import tensorflow as tf

from ganlib.export.network import save_signatures, signatures
from ganlib.export.parity import Shipped
from ganlib.trained import save_witness

REACH = 8  # pixels that `blur` looks at on each side


def save(folder, functions, *, inputs=None):
    """Writes functions as an exported model.

    Args:
        folder: Folder to create.
        functions: By name, a function and the shapes of its inputs by name, all uint8.
        inputs: Content of `inputs.json`, if any.
    """
    saved = {
        name: tf.function(function).get_concrete_function(
            **{key: tf.TensorSpec(shape, tf.uint8, name=key) for key, shape in shapes.items()}
        )
        for name, (function, shapes) in functions.items()
    }
    tf.saved_model.save(tf.Module(), str(folder / "saved_model"), signatures=saved)
    if inputs is not None:
        (folder / "inputs.json").write_text(json.dumps(inputs))
    return folder


def fill(folder, task, networks, *, image_shape, classes=0, count=4):
    """Writes networks as training and export do: a SavedModel, and images of random inputs as witnesses.

    Args:
        folder: Folder to fill.
        task: Their task.
        networks: Networks by name.
        image_shape: Height, width and channels of the images.
        classes: Number of classes that can be asked for, 0 for none.
        count: Number of images.

    Returns:
        The networks as they are shipped.
    """
    functions = signatures(networks, task, image_shape=image_shape, classes=classes)
    save_signatures(networks, functions, folder / "saved_model")
    random, shipped = np.random.default_rng(0), []
    for (name, network), signature in zip(networks.items(), functions, strict=False):
        inputs = {}
        for tensor in network.inputs:
            values = random.uniform(-1, 1, [count, *(16 if side is None else side for side in tensor.shape[1:])])
            made = {"mask": values > 0, "label": np.arange(count) % max(1, classes)}.get(tensor.name, values)
            inputs[tensor.name] = made.astype(tensor.dtype)
        witness = folder / f"{name}.npz"
        save_witness(witness, inputs, np.asarray(network(inputs, training=False)))
        shipped.append(Shipped(folder / f"{name}.keras", signature, witness))
    return shipped


def any_size(channels=3):
    return {"images": [None, None, None, channels]}


def with_masks(channels=3):
    return {"images": [None, None, None, channels], "masks": [None, None, None, 1]}


def identity(images):
    return {"images": tf.identity(images)}


def invert(images):
    return {"images": 255 - images}


def blur(images):
    """Averages windows of 17x17; at borders, of what there is."""
    mean = tf.nn.avg_pool2d(tf.cast(images, tf.float32), 2 * REACH + 1, 1, "SAME")
    return {"images": tf.cast(tf.round(mean), tf.uint8)}


def coarse(images):
    """Makes squares of 4x4 pixels, whose places depend on where a tile begins."""
    small = tf.nn.avg_pool2d(tf.cast(images, tf.float32), 4, 4, "VALID")
    return {"images": tf.cast(tf.round(tf.repeat(tf.repeat(small, 4, axis=1), 4, axis=2)), tf.uint8)}


def normalise(images):
    """Gives each tile the mean 128 and the deviation 40, as a network with instance norm does.

    The deviation is a norm here: with the variance, TensorFlow 2.21 takes the lines for an instance norm with a gain
    and a bias per channel, and where these are single numbers its fused kernel (oneDNN) reads past their end.
    """
    values = tf.cast(images, tf.float32)
    distance = values - tf.reduce_mean(values, [1, 2], keepdims=True)
    pixels = tf.cast(tf.reduce_prod(tf.shape(values)[1:3]), tf.float32)
    spread = distance / (tf.norm(distance, axis=[1, 2], keepdims=True) / tf.sqrt(pixels) + 1.0)
    return {"images": tf.cast(tf.clip_by_value(tf.round(128 + 40 * spread), 0, 255), tf.uint8)}


def paint(images, masks):
    """Paints 200 where a mask is white, and changes everything else a little, which it should not."""
    return {"images": tf.where(masks == 255, tf.constant(200, tf.uint8), images ^ 1)}


def to_grey(images):
    return {"images": images[..., :1]}


def refuse(images):
    with tf.control_dependencies([tf.debugging.Assert(tf.shape(images)[1] < 50, ["expected fewer than 50 rows"])]):
        return {"images": tf.identity(images)}
