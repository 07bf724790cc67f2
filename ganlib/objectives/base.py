"""The base class of all objectives. An objective is a set of named terms; their sum is the loss."""

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
    """The losses of generator and discriminator. Final classes add `kind`, settings and terms.

    Images are float32 [N, H, W, C] in -1..1. The `discriminator` argument maps them to float32 logits [N, 1]. For
    conditional tasks it already knows the condition. Within one update it runs once per image tensor and returns
    the same logits for later calls; simultaneous updates of both networks share these logits.

    Each term is a float32 scalar: the mean over the given images. The trainer accounts for replicas.
    """

    kind: str
    discriminator_steps: int = Field(default=1, ge=1)
    """Discriminator updates for each generator update."""

    def check(self, *, judges_batches: bool) -> None:
        """Checks that the discriminator suits this objective, before any network is built.

        Args:
            judges_batches: Whether the logit of an image depends on the rest of the batch, see
                `Architecture.judges_batches`.

        Raises:
            ValueError: The objective has gradient penalties, and the discriminator mixes the images of a batch.
        """
        if self.has_penalties and judges_batches:
            raise ValueError(
                "a gradient penalty needs a discriminator whose logit for an image does not depend on the rest of "
                "the batch: set model.discriminator_norm=none or spectral. "
                f"Received: objective={self.kind}, model.discriminator_norm=batch"
            )

    @abstractmethod
    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the terms of the discriminator's loss, by name. Only the discriminator is updated."""

    @abstractmethod
    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the terms of the generator's loss, by name. Gradients reach the generator through `fake`."""

    def penalties(
        self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor, interpolation: tf.Tensor
    ) -> Terms:
        """Returns the gradient penalties: further terms of the discriminator's loss, by name.

        Call it before `discriminator_terms`, so that one forward pass gives both gradients and logits.

        Args:
            discriminator: Discriminator to penalise.
            real: Real images [N, H, W, C].
            fake: Generated images [N, H, W, C].
            interpolation: float32 [N], uniform in 0..1, newly drawn for every update. A penalty at points between
                real and generated images uses it to choose the points.

        Returns:
            One term for each name in `penalty_terms`.
        """
        del discriminator, real, fake, interpolation
        return {}

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """Names of the terms that `penalties` returns; empty if there are no penalties."""
        return ()

    @property
    def has_penalties(self) -> bool:
        """Whether there are gradient penalties."""
        return bool(self.penalty_terms)

    @property
    def penalty_every(self) -> int:
        """Generator steps from one update with penalties to the next; the trainer scales penalties by it."""
        return 1

    @property
    def constraint(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        """Function that is applied to each weight of the discriminator after its update; None means none."""
        return None

    @property
    def boundary(self) -> float | None:
        """Logit above which an image counts as real; None if only differences of logits have a meaning."""
        return 0.0

    def accuracy(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Returns the fraction of correctly classified images or, without `boundary`, of correctly ranked pairs."""
        real_logits, fake_logits = discriminator(real), discriminator(fake)
        if self.boundary is None:
            return fraction(real_logits > fake_logits)
        return (fraction(real_logits > self.boundary) + fraction(fake_logits < self.boundary)) / 2.0


def fraction(values: tf.Tensor) -> tf.Tensor:
    """Returns the fraction of boolean values that are true, as a float32 scalar."""
    return tf.reduce_mean(tf.cast(values, tf.float32))


def mean(values: tf.Tensor) -> tf.Tensor:
    """Returns the mean, computed in float32 for values of any precision."""
    return tf.reduce_mean(tf.cast(values, tf.float32))
