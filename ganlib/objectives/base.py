"""What an objective is: the adversarial game as named terms whose sum is the loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from ganlib.schema import Config

if TYPE_CHECKING:
    import tensorflow as tf

    Discriminator = Callable[[tf.Tensor], tf.Tensor]
    Terms = dict[str, tf.Tensor]


class Objective(Config):
    """A game. Final classes add `kind`, their settings and their mathematics.

    Images are float32 [N, H, W, C] in -1..1; the discriminator maps them to float32 logits [N, 1].
    A condition, where there is one, is closed over by the discriminator that is passed in. Each term
    is a float32 scalar, the mean over the images at hand; the trainer accounts for replicas. The discriminator
    answers the same tensor once, however often it is asked within a method; with simultaneous updates
    both methods share these answers.
    """

    discriminator_steps: int = Field(default=1, ge=1)
    """Discriminator updates for each generator update."""

    @abstractmethod
    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns what the discriminator minimises, by name; only its own variables will follow."""

    @abstractmethod
    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns what the generator minimises, by name; gradients flow to it through the fakes."""
