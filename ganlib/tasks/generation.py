"""Images out of nothing but noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy
from pydantic import Field

from ganlib import pixels, streams
from ganlib.tasks.base import Match, Networks, Task

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras

    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Batch, Inputs

NETWORK = "generator"
MATCH = "discriminator"
LATENT, LABEL = "latent", "label"


class Generation(Task):
    """One generator from Gaussian latents to images, one discriminator against real images.

    With `conditional` both networks know the class: a fake is asked to be of the class of the real image beside it.
    """

    kind: Literal["generation"] = "generation"
    latent_dim: int = Field(default=100, ge=1, le=4096)
    """Width of the latent vector."""
    conditional: bool = False
    """Whether a class can be asked for; needs labelled images."""

    def check(self, *, classes: int) -> None:
        """Refuses conditions without labels; see the base class."""
        if self.conditional and classes < 2:
            raise ValueError(
                "task.conditional needs images with labels of at least 2 classes; take task.conditional=false without. "
                f"Received: classes={classes}, conditional=True"
            )

    def build(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> Networks:
        """Builds generator and discriminator; see the base class."""
        known = classes if self.conditional else 0
        generator = architecture.generator(
            latent_dim=self.latent_dim, image_shape=image_shape, classes=known, dtype=dtype
        )
        discriminator = architecture.discriminator(image_shape=image_shape, classes=known, dtype=dtype, seed=seed)
        return Networks({NETWORK: generator}, {MATCH: discriminator})

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds `latents` float32 [N, latent_dim]; see the base class."""
        shape = [batch["images"].shape[0], self.latent_dim]
        latents = tf.random.stateless_normal(shape, streams.pair(streams.key("latents", seed), number))
        return {**batch, "latents": latents}

    def play(self, generators: dict[str, keras.Model], batch: Batch, *, training: bool) -> dict[str, Match]:
        """Matches real images with generated ones; see the base class."""
        condition = {LABEL: batch["labels"]} if self.conditional else {}
        fake = generators[NETWORK]({LATENT: batch["latents"], **condition}, training=training)
        return {MATCH: Match(pixels.to_model_range(batch["images"]), fake, condition)}

    def sampler(self, generators: dict[str, keras.Model]) -> keras.Model:
        """Returns the generator."""
        return generators[NETWORK]

    def inputs(
        self,
        count: int | tf.Tensor,
        *,
        seed: int | tf.Tensor,
        shares: Sequence[float],
        label: int | tf.Tensor | None = None,
    ) -> Inputs:
        """Returns `latent` float32 [count, latent_dim] and, if conditional, `label` int64 [count]; see the base."""
        if label is not None and not self.conditional:
            raise ValueError(f"expected no labels, for this generator takes none. Received: labels={label}")
        stream = streams.pair(seed, streams.key("sample latents"))
        inputs = {LATENT: tf.random.stateless_normal([count, self.latent_dim], stream)}
        if self.conditional:
            chance = tf.random.stateless_uniform([count], streams.pair(seed, streams.key("sample classes")))
            bounds = tf.cumsum(tf.constant(shares[:-1], tf.float32))
            drawn = tf.searchsorted(bounds, chance, side="right", out_type=tf.int64)
            inputs[LABEL] = drawn if label is None else tf.broadcast_to(tf.cast(label, tf.int64), [count])
        return inputs

    @property
    def takes_label(self) -> bool:
        """Whether it is conditional."""
        return self.conditional
