"""The layers of a network whose outputs are compared, which are named `feature_0`, `feature_1` and so on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import keras
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.models.base import ImageShape
    from ganlib.tasks.play import Match

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


def feature_difference(discriminator: keras.Model, match: Match) -> tf.Tensor:
    """Returns the mean squared difference of the features of real and generated images, a mean over the layers.

    This is feature matching (Wang et al. 2018, https://arxiv.org/abs/1711.11585) with squares, as LaMa has it.

    Args:
        discriminator: A network that takes `images` and the conditions of the match by their names.
        match: What it compares.
    """
    maps = feature_maps(discriminator)
    real, fake = (
        _compute(discriminator, maps, {"images": images, **match.condition}, training=True)
        for images in (match.real, match.fake)
    )
    differences = [
        tf.reduce_mean(tf.math.squared_difference(tf.cast(one, tf.float32), tf.cast(other, tf.float32)))
        for one, other in zip(real, fake, strict=True)
    ]
    return tf.add_n(differences) / len(differences)


def _compute(
    network: keras.Model,
    tensors: list[keras.KerasTensor],
    inputs: tf.Tensor | Mapping[str, tf.Tensor],
    *,
    training: bool,
) -> list[tf.Tensor]:
    """Calls a network for some of its tensors, with its one input or with all of them by name."""
    values = [inputs[each.name] for each in network.inputs] if isinstance(inputs, Mapping) else [inputs]
    computed = _with_outputs(network, tensors)(values, training=training)
    return [computed[str(index)] for index in range(len(tensors))]


def _with_outputs(network: keras.Model, tensors: list[keras.KerasTensor]) -> keras.Model:
    """Returns the network with other outputs, which are a dict by their number, since Keras unpacks a list of one."""
    return keras.Model(network.inputs, {str(index): tensor for index, tensor in enumerate(tensors)})
