"""The first GAN: fully connected networks (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661)."""

from __future__ import annotations

import math
from typing import Literal

from etils import epy
from pydantic import Field

from ganlib import streams
from ganlib.models.base import ImageShape, LatentToImage
from ganlib.models.conditions import join_class, network_inputs, projection_logits

with epy.lazy_imports():
    import keras

LARGEST = 64


class Mlp(LatentToImage):
    """Two layers of ReLU against two layers of maxout with dropout, the paper's networks for MNIST.

    The output is tanh, since images are in -1..1; the paper has a sigmoid. Weights start as Glorot's uniform, which at
    the paper's widths is nearly its +-0.05 in the generator. Its +-0.005 in the discriminator needs a learning rate of
    0.1. A class is appended to the latent and projected in the discriminator.
    """

    kind: Literal["mlp"] = "mlp"
    generator_width: int = Field(default=1200, ge=1)
    """Units of each of the generator's two hidden layers."""
    discriminator_width: int = Field(default=240, ge=1)
    """Maxout units of each of the discriminator's two hidden layers."""
    maxout_pieces: int = Field(default=5, ge=2)
    """Linear functions of each maxout unit, which returns the largest."""
    input_dropout: float = Field(default=0.2, ge=0.0, le=0.99)
    """Dropout rate of the discriminator's pixels."""
    dropout: float = Field(default=0.5, ge=0.0, le=0.99)
    """Dropout rate of the discriminator, after each hidden layer."""

    def check(self, image_shape: ImageShape) -> None:
        """Refuses sizes at which a weight for each pixel is too many."""
        height, width, _ = image_shape
        if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
            raise ValueError(
                f"mlp serves images of at most {LARGEST} pixels a side (it has weights for each pixel). "
                f"Received: size={height}x{width}"
            )

    def generator(self, *, latent_dim: int, image_shape: ImageShape, classes: int, dtype: str) -> keras.Model:
        """Builds the generator."""
        self.check(image_shape)
        inputs, latent, known = network_inputs("latent", (latent_dim,), classes)
        x = join_class(latent, known)
        for _ in range(2):
            x = keras.layers.Dense(self.generator_width, activation="relu", dtype=dtype)(x)
        x = keras.layers.Dense(math.prod(image_shape), dtype=dtype)(x)
        x = keras.layers.Reshape(image_shape, dtype=dtype)(x)
        images = keras.layers.Activation("tanh", dtype="float32", name="images")(x)
        return keras.Model(inputs, images, name="generator")

    def discriminator(self, *, image_shape: ImageShape, classes: int, dtype: str, seed: int) -> keras.Model:
        """Builds the discriminator."""
        from ganlib.models.layers import ReplicaDropout

        self.check(image_shape)
        inputs, images, known = network_inputs("images", image_shape, classes)
        x = keras.layers.Flatten(dtype=dtype)(images)
        x = ReplicaDropout(self.input_dropout, seed=streams.key("dropout", seed, 0), dtype=dtype)(x)
        for layer in (1, 2):
            x = keras.layers.Dense(self.discriminator_width * self.maxout_pieces, dtype=dtype)(x)
            x = keras.layers.Reshape((self.discriminator_width, self.maxout_pieces), dtype=dtype)(x)
            x = keras.ops.max(x, axis=-1)
            x = ReplicaDropout(self.dropout, seed=streams.key("dropout", seed, layer), dtype=dtype)(x)
        logits = projection_logits(x, known, dense=keras.layers.Dense, initial=keras.initializers.GlorotUniform)
        return keras.Model(inputs, logits, name="discriminator")
