"""What a task is: which networks there are, how a batch becomes fakes, what a sample is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganlib.schema import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from ganlib.models.base import Architecture, ImageShape

    Batch = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Networks:
    """The networks of a task by name; a discriminator's name is that of the match it judges."""

    generators: dict[str, keras.Model]
    discriminators: dict[str, keras.Model]


@dataclass(frozen=True)
class Match:
    """What one discriminator compares: float32 [N, H, W, C] in -1..1 each."""

    real: tf.Tensor
    fake: tf.Tensor


class Task(Config):
    """What the generator is asked to do. Final classes add `kind` and their settings."""

    @abstractmethod
    def build(self, model: Architecture, *, image_shape: ImageShape, dtype: str, seed: int) -> Networks:
        """Builds all networks."""

    @abstractmethod
    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds what is random to a global batch, before it is spread over replicas.

        Args:
            batch: `images` uint8 [N, H, W, C] and `labels` int64 [N].
            seed: Seed of the run.
            number: Number of the batch, int64; the same number always gives the same draw.
        """

    @abstractmethod
    def play(self, generators: dict[str, keras.Model], batch: Batch, *, training: bool) -> dict[str, Match]:
        """Returns what each discriminator compares, gradients flowing through the fakes."""

    def extra_terms(self, batch: Batch, matches: dict[str, Match]) -> dict[str, tf.Tensor]:
        """Returns further terms of the generator's loss, such as a reconstruction's."""
        del batch, matches
        return {}

    @abstractmethod
    def sampler(self, generators: dict[str, keras.Model]) -> keras.Model:
        """Returns the network that is scored and shipped."""

    @abstractmethod
    def inputs(self, count: int | tf.Tensor, *, seed: int | tf.Tensor) -> tf.Tensor:
        """Returns inputs of the sampler for `count` samples; the first ones do not depend on the count.

        Works on tensors too, so that the exported model can draw its own inputs.
        """
