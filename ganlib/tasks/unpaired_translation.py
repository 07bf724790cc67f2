"""Images of one domain to another and back, without pairs (CycleGAN: Zhu et al. 2017, arXiv 1703.10593)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from etils import epy
from pydantic import Field

from ganlib import pixels, streams
from ganlib.tasks.domains import DOMAINS, SOURCE, TARGET, DomainTranslation
from ganlib.tasks.image_to_image import IMAGE
from ganlib.tasks.play import Match, Networks, Play

with epy.lazy_imports():
    import tensorflow as tf

    from ganlib.tasks import pool

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras
    import numpy as np
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.base import Batch, Inputs

FORWARD, BACKWARD = "forward", "backward"  # generators: from the source domain to the target domain, and back
MATCHES = {TARGET: FORWARD, SOURCE: BACKWARD}  # each domain's discriminator with the generator of its fakes


class UnpairedTranslation(DomainTranslation):
    """A generator for each direction between two domains, and a discriminator for each domain.

    The domains are two classes of the data, or the images and the targets of pairs, which are then drawn
    independently. Both generators are trained by both cycle terms: an image that is
    translated and translated back should be the same again.
    """

    kind: Literal["unpaired_translation"] = "unpaired_translation"
    cycle_weight: float = Field(default=10.0, ge=0.0)
    """Weight of the cycle terms: the mean absolute difference to the image that was translated and back, in -1..1."""
    identity_weight: float = Field(default=0.5, ge=0.0)
    """Weight of the identity terms relative to cycle_weight: an image of the target domain should not change. It keeps
    colours from being inverted."""
    pool_size: int = Field(default=50, ge=0)
    """Generated images of earlier steps that each discriminator is also shown, rounded down to complete batches; with 0
    it only sees new images."""

    def generators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int | None
    ) -> dict[str, keras.Model]:
        """Builds a generator for each direction."""
        del classes  # they are the domains
        build = self.family(architecture).generator
        return {
            name: build(
                image_shape=image_shape,
                channels=image_shape[2],
                dtype=dtype,
                seed=None if seed is None else streams.key("dropout", seed, number),
            )
            for number, name in enumerate(MATCHES.values())
        }

    def discriminators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> dict[str, keras.Model]:
        """Builds a discriminator for each domain."""
        del classes  # they are the domains
        return {
            name: architecture.discriminator(
                image_shape=image_shape, classes=0, dtype=dtype, seed=streams.key("dropout", seed, DOMAINS + number)
            )
            for number, name in enumerate(MATCHES)
        }

    def memory(self, *, image_shape: ImageShape, batch_size: int) -> dict[str, keras.Variable]:
        """Returns a pool for each discriminator, if there are any."""
        names = MATCHES if self.pool_size else ()
        return {name: pool.build(self.pool_size, image_shape=image_shape, batch_size=batch_size) for name in names}

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds what happens to the pools."""
        drawn = dict(batch)
        for index, name in enumerate(MATCHES if self.pool_size else ()):
            key = streams.key("pool", seed, index)
            values = pool.draw(batch["images"].shape[0], self.pool_size, key=key, number=number)
            drawn.update({f"{name}/{what}": value for what, value in values.items()})
        return drawn

    def play(self, networks: Networks, batch: Batch, *, training: bool) -> Play:
        """Translates both ways, and compares each translation with the other domain."""
        real = {SOURCE: pixels.to_model_range(batch["images"]), TARGET: pixels.to_model_range(batch["targets"])}
        origin = {TARGET: SOURCE, SOURCE: TARGET}
        fake = {
            name: networks.generators[direction]({IMAGE: real[origin[name]]}, training=training)
            for name, direction in MATCHES.items()
        }

        def terms() -> dict[str, tf.Tensor]:
            terms_by_name: dict[str, tf.Tensor] = {}
            for name, direction in MATCHES.items():
                generator = networks.generators[direction]
                back = generator({IMAGE: fake[origin[name]]}, training=training)
                terms_by_name[f"cycle_{name}"] = self.cycle_weight * tf.reduce_mean(tf.abs(back - real[name]))
                if self.identity_weight:
                    same = generator({IMAGE: real[name]}, training=training)
                    weight = self.cycle_weight * self.identity_weight
                    terms_by_name[f"identity_{name}"] = weight * tf.reduce_mean(tf.abs(same - real[name]))
            return terms_by_name

        return Play(
            {
                name: Match(real[name], fake[name], pooled=self._pooled(networks, batch, name, fake[name]))
                for name in MATCHES
            },
            terms,
        )

    def _pooled(self, networks: Networks, batch: Batch, name: str, fake: tf.Tensor) -> tf.Tensor | None:
        """Returns what the discriminator is shown; None means the new images."""
        if not self.pool_size:
            return None
        drawn = {what: batch[f"{name}/{what}"] for what in (pool.SLOT, pool.STORE, pool.SHOW_STORED)}
        return pool.exchange(networks.memory[name], fake, drawn)

    @property
    def scored(self) -> tuple[str, ...]:
        """Both directions."""
        return FORWARD, BACKWARD

    def inputs_from(self, examples: Mapping[str, NDArray[Any]], network: str | None) -> Inputs:
        """Returns `image` float32 [N, H, W, C], images of the domain that the network translates from."""
        if network == BACKWARD and "targets" in examples:
            examples = {"images": examples["targets"]}
        return super().inputs_from(examples, network)

    def inverse(self, network: str) -> str | None:
        """Returns the other direction."""
        return FORWARD if network == BACKWARD else BACKWARD

    def real(self, dataset: PreparedDataset, network: str | None = None) -> PreparedDataset:
        """Returns the domain that a network translates to."""
        return super().held_out(dataset) if network == BACKWARD else super().real(dataset)

    def held_out(self, dataset: PreparedDataset, network: str | None = None) -> PreparedDataset:
        """Returns the domain that a network translates from."""
        return super().real(dataset) if network == BACKWARD else super().held_out(dataset)

    def truth(self, examples: Mapping[str, NDArray[Any]], network: str | None = None) -> NDArray[np.uint8] | None:
        """Returns the true translations if the data are pairs, which training does not know."""
        truths = super().truth(examples)
        return examples["images"] if network == BACKWARD and truths is not None else truths
