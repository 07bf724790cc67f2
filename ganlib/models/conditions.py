"""Class conditions in networks, of stock Keras layers only, since generators are shipped without this project.

A class enters as a one-hot vector, followed by a dense layer. That is an embedding with dense gradients, which sum over
replicas like all others. Without classes the vector is None and nothing is added.
"""

from __future__ import annotations

from typing import Any

from etils import epy

with epy.lazy_imports():
    import keras
    import tensorflow as tf

MOMENTUM = 0.9  # of batch norm's statistics: they average over ten steps, since those of a generator change fast


def network_inputs(
    name: str, shape: tuple[int | None, ...], classes: int
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor, keras.KerasTensor | None]:
    """Returns the inputs of a network that takes an array and, where there are classes, a label.

    Args:
        name: Name of the input for the array.
        shape: Of the array, without the batch. None stands for any length.
        classes: Number of classes; 0 leaves the label out.

    Returns:
        The inputs by name: the array, float32 [N, *shape], and `label`, int64 [N] from 0 to `classes` - 1.
        The array's input alone.
        The label's one-hot vector, float32 [N, classes], or None without classes.
    """
    first = keras.Input(shape, name=name, dtype="float32")
    if classes == 0:
        return {name: first}, first, None
    label = keras.Input((), name="label", dtype="int64")
    encoding = keras.layers.CategoryEncoding(num_tokens=classes, output_mode="one_hot", dtype="float32")
    return {name: first, "label": label}, first, encoding(label)


def join_class(latent: keras.KerasTensor, known: keras.KerasTensor | None) -> keras.KerasTensor:
    """Appends an embedding of the class to the latent, with the same width and, at first, the same distribution."""
    if known is None:
        return latent
    normal = keras.initializers.RandomNormal(stddev=1.0)
    embedding = keras.layers.Dense(latent.shape[-1], use_bias=False, kernel_initializer=normal, dtype="float32")(known)
    return keras.layers.Concatenate(dtype="float32")([latent, embedding])


def batch_norm(x: keras.KerasTensor, *, affine: bool = True, dtype: str) -> keras.KerasTensor:
    """Normalises a batch. `affine` adds gain and bias, which conditional networks take from the class instead."""
    # Replicas use the statistics of the global batch, so their number changes no result.
    shared = tf.distribute.get_strategy().num_replicas_in_sync > 1
    layer = keras.layers.BatchNormalization(
        momentum=MOMENTUM, center=affine, scale=affine, synchronized=shared, dtype=dtype
    )
    return layer(x)


def modulate(x: keras.KerasTensor, known: keras.KerasTensor | None, *, dtype: str) -> keras.KerasTensor:
    """Applies to each channel of [N, H, W, C] a gain and a bias of the class, initially one and zero.

    After `batch_norm` this is the conditional batch norm of de Vries et al. 2017, https://arxiv.org/abs/1707.00683.
    """
    if known is None:
        return x
    channels = x.shape[-1]
    for initializer, combine in (("ones", keras.layers.Multiply), ("zeros", keras.layers.Add)):
        by_class = keras.layers.Dense(channels, use_bias=False, kernel_initializer=initializer, dtype=dtype)(known)
        x = combine(dtype=dtype)([x, keras.layers.Reshape((1, 1, channels), dtype=dtype)(by_class)])
    return x


def projection_logits(features: keras.KerasTensor, known: keras.KerasTensor | None, *, dense: Any, initial: Any) -> Any:
    """Returns logits: a linear layer of the features plus their projection on the embedding of the class.

    The projection is from Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637. Both are computed in float32.

    Args:
        features: [N, C].
        known: One-hot class or None.
        dense: Class of the linear layers, `Dense` or its like.
        initial: Returns a new initializer, since one object used twice gives equal weights.
    """
    logits = dense(1, kernel_initializer=initial(), dtype="float32")(features)
    if known is None:
        return logits
    embedding = dense(features.shape[-1], use_bias=False, kernel_initializer=initial(), dtype="float32")(known)
    agreement = keras.layers.Dot(axes=1, dtype="float32")([embedding, features])
    return keras.layers.Add(dtype="float32")([logits, agreement])
