"""Images out of nothing but noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy
from pydantic import Field

from ganlib import pixels
from ganlib.tasks.base import Match, Networks, Task

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Batch

NETWORK = "generator"
MATCH = "discriminator"


class Generation(Task):
    """One generator from Gaussian latents to images, one discriminator against real images."""

    kind: Literal["generation"] = "generation"
    latent_dim: int = Field(default=100, ge=1, le=4096)
    """Width of the latent vector."""

    def build(self, model: Architecture, *, image_shape: ImageShape, dtype: str, seed: int) -> Networks:
        """Builds generator and discriminator; see the base class."""
        return Networks(
            {NETWORK: model.generator(latent_dim=self.latent_dim, image_shape=image_shape, dtype=dtype)},
            {MATCH: model.discriminator(image_shape=image_shape, dtype=dtype, seed=seed)},
        )

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds `latents` float32 [N, latent_dim]; see the base class."""
        shape = [batch["images"].shape[0], self.latent_dim]
        latents = tf.random.stateless_normal(shape, tf.stack([tf.cast(seed, tf.int64), number]))
        return {**batch, "latents": latents}

    def play(self, generators: dict[str, keras.Model], batch: Batch, *, training: bool) -> dict[str, Match]:
        """Matches real images with generated ones; see the base class."""
        fake = generators[NETWORK](batch["latents"], training=training)
        return {MATCH: Match(pixels.to_model_range(batch["images"]), fake)}

    def sampler(self, generators: dict[str, keras.Model]) -> keras.Model:
        """Returns the generator."""
        return generators[NETWORK]

    def inputs(self, count: int | tf.Tensor, *, seed: int | tf.Tensor) -> tf.Tensor:
        """Returns latents float32 [count, latent_dim]; see the base class."""
        stream = tf.stack([tf.cast(seed, tf.int64), tf.constant(0, tf.int64)])
        return tf.random.stateless_normal([count, self.latent_dim], stream)
