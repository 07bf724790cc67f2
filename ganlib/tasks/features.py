"""The layers of a network whose outputs are compared, which are named `feature_0`, `feature_1` and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import keras

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.models.base import ImageShape

FEATURE = "feature_"


def feature_maps(network: keras.Model) -> list[keras.KerasTensor]:
    """Returns the outputs of the layers, in the order of the network; empty if there are none."""
    return [layer.output for layer in network.layers if layer.name.startswith(FEATURE)]


def feature_shapes(network: keras.Model, image_shape: ImageShape) -> list[tuple[int, int, int]]:
    """Returns the height, width and channels of the features of an image, in the order of the network.

    Args:
        network: A network with one input.
        image_shape: Height, width and channels of the image.
    """
    maps = feature_maps(network)
    if not maps:
        return []
    specs = _with_outputs(network, maps).compute_output_spec([keras.KerasTensor((1, *image_shape), dtype="float32")])
    return [tuple(specs[str(index)].shape[1:]) for index in range(len(maps))]


def compute_features(network: keras.Model, images: tf.Tensor, *, training: bool) -> list[tf.Tensor]:
    """Returns the features of images, [N, h, w, C] each; nothing after the last one is computed.

    Args:
        network: A network with one input.
        images: float32 [N, H, W, C] in -1..1.
        training: Whether the network is in training.
    """
    return _compute(network, feature_maps(network), images, training=training)


def compute_output_and_features(
    network: keras.Model, images: tf.Tensor, *, training: bool
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Returns what a network makes of images, and the features on the way to it."""
    output, *features = _compute(network, [network.output, *feature_maps(network)], images, training=training)
    return output, features


def _compute(
    network: keras.Model, tensors: list[keras.KerasTensor], images: tf.Tensor, *, training: bool
) -> list[tf.Tensor]:
    computed = _with_outputs(network, tensors)([images], training=training)
    return [computed[str(index)] for index in range(len(tensors))]


def _with_outputs(network: keras.Model, tensors: list[keras.KerasTensor]) -> keras.Model:
    """Returns the network with other outputs, which are a dict by their number, since Keras unpacks a list of one."""
    return keras.Model(network.inputs, {str(index): tensor for index, tensor in enumerate(tensors)})
