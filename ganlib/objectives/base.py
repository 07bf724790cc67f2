"""What an objective is: the adversarial game as named terms whose sum is the loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from etils import epy
from pydantic import Field

from ganlib.schema import Config

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    Discriminator = Callable[[tf.Tensor], tf.Tensor]
    Terms = dict[str, tf.Tensor]


class Objective(Config):
    """A game. Final classes add `kind`, their settings and their mathematics.

    Images are float32 [N, H, W, C] in -1..1; the discriminator maps them to float32 logits [N, 1].
    A condition, where there is one, is closed over by the discriminator that is passed in. Each term
    is a float32 scalar, the mean over the images at hand; the trainer accounts for replicas. The discriminator
    answers the same tensor once, however often it is asked for the update of one network; with simultaneous
    updates both networks' updates share these answers.
    """

    kind: str
    discriminator_steps: int = Field(default=1, ge=1)
    """Discriminator updates for each generator update."""

    def check(self, *, judges_batches: bool) -> None:
        """Says whether a discriminator can be penalised, before anything is built.

        Args:
            judges_batches: Whether its answer to an image depends on others, see `Architecture.judges_batches`.

        Raises:
            ValueError: It cannot.
        """
        if self.penalised and judges_batches:
            raise ValueError(
                "a penalty on each image's slope wants a discriminator that judges images one by one; take "
                "model.discriminator_norm=none or spectral. "
                f"Received: objective={self.kind}, model.discriminator_norm=batch"
            )

    @abstractmethod
    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns what the discriminator minimises, by name; only its own variables will follow."""

    @abstractmethod
    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns what the generator minimises, by name; gradients flow to it through the fakes."""

    def penalties(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor, chance: tf.Tensor) -> Terms:
        """Returns further terms of the discriminator's loss that depend on its slope at the images.

        They are asked for before the other terms, so that slope and answer come from one pass.

        Args:
            discriminator: The network to penalise.
            real: Real images.
            fake: As many generated ones.
            chance: float32 [N], uniform in 0..1, drawn anew for every update.
        """
        del discriminator, real, fake, chance
        return {}

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """Names of the terms that `penalties` returns."""
        return ()

    @property
    def penalised(self) -> bool:
        """Whether there are penalties."""
        return bool(self.penalty_terms)

    @property
    def penalty_every(self) -> int:
        """Generator steps from one update with penalties to the next; the trainer weighs them accordingly."""
        return 1

    @property
    def constraint(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        """What is done to each of the discriminator's weights after its update, if anything."""
        return None

    @property
    def boundary(self) -> float | None:
        """Logit above which the discriminator calls an image real; None where only differences have a meaning."""
        return 0.0

    def accuracy(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Returns the share of images that the discriminator tells rightly, or of pairs without a boundary."""
        real_logits, fake_logits = discriminator(real), discriminator(fake)
        if self.boundary is None:
            return share(real_logits > fake_logits)
        return (share(real_logits > self.boundary) + share(fake_logits < self.boundary)) / 2.0


def share(answers: tf.Tensor) -> tf.Tensor:
    """Returns the share of true ones."""
    return tf.reduce_mean(tf.cast(answers, tf.float32))


def mean(values: tf.Tensor) -> tf.Tensor:
    """Returns the mean in float32, whatever the precision of the values."""
    return tf.reduce_mean(tf.cast(values, tf.float32))
