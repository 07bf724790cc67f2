"""The base class of all objectives. An objective is a set of named terms; their sum is the loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from etils import epy
from pydantic import Field

from ganlib.schema import Config

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    Terms = dict[str, tf.Tensor]


class Objective(Config):
    """The losses of generator and discriminator. Concrete classes add `kind`, settings and terms.

    `real` and `fake` are the discriminator's logits of real and of generated images, [N, 1] or one for each patch,
    [N, h, w, 1]. Each term is a float32 scalar: the mean over the logits. The trainer accounts for replicas.

    A gradient penalty has two parts, so that the trainer alone differentiates: `penalty_points` returns the images at
    which the gradient of the discriminator is penalised, and `penalties` turns the norms of the gradients into terms.
    """

    kind: str
    discriminator_steps: int = Field(default=1, ge=1)
    """Discriminator updates for each generator update."""

    def check(self, *, judges_batches: bool, has_real_patches: bool = False) -> None:
        """Checks that the discriminator and the task suit this objective, before any network is built.

        Args:
            judges_batches: Whether the logit of an image depends on the rest of the batch, see
                `Architecture.judges_batches`.
            has_real_patches: Whether generated images have real patches, see `Task.has_real_patches`.

        Raises:
            ValueError: The objective has gradient penalties, and the discriminator mixes the images of a batch; or it
                compares images as a whole, and generated ones have real patches.
        """
        if has_real_patches and not self.judges_patches:
            raise ValueError(
                "known pixels of repaired images count as real, which needs a loss of single logits: expected "
                f"objective=non_saturating, minimax, least_squares or hinge. Received: objective={self.kind}, "
                "task.damage=mask"
            )
        if self.has_penalties and judges_batches:
            raise ValueError(
                "a gradient penalty needs a discriminator whose logit for an image does not depend on the rest of "
                "the batch: set model.discriminator_norm=none or spectral. "
                f"Received: objective={self.kind}, model.discriminator_norm=batch"
            )

    @abstractmethod
    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor, generated: tf.Tensor | None = None) -> Terms:
        """Returns the terms of the discriminator's loss, by name. Only the discriminator is updated.

        Args:
            real: Logits of real images.
            fake: Logits of generated images.
            generated: Which logits of generated images are those of generated patches, bool of the same shape; the
                other patches are real ones. Only if `judges_patches`; None means all.
        """

    @property
    def judges_patches(self) -> bool:
        """Whether the loss is a sum over logits, so that patches of a generated image can count as real ones."""
        return False

    @abstractmethod
    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the terms of the generator's loss, by name. Gradients reach the generator through `fake`."""

    @property
    def generator_uses_real(self) -> bool:
        """Whether `generator_terms` uses the logits of real images."""
        return False

    def penalty_points(self, real: tf.Tensor, fake: tf.Tensor, epsilon: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the images at which the gradient of the discriminator is penalised.

        Args:
            real: Real images [N, H, W, C].
            fake: Generated images [N, H, W, C].
            epsilon: float32 [N], uniform in 0..1, newly drawn for every update, for points between real and generated
                images.

        Returns:
            Images [N, H, W, C] for each name in `penalty_terms`.
        """
        del real, fake, epsilon
        return {}

    def penalties(self, squared_norms: Mapping[str, tf.Tensor]) -> Terms:
        """Returns the gradient penalties: further terms of the discriminator's loss, by name.

        Args:
            squared_norms: The squared norm of the gradient for each of the `penalty_points`, float32 [N] by name.

        Returns:
            One term for each name in `penalty_terms`.
        """
        del squared_norms
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
        """Lazy regularisation: generator steps from one update with penalties to the next, and the factor on them."""
        return 1

    @property
    def constraint(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        """Function that is applied to each weight of the discriminator after its update; None means none."""
        return None

    @property
    def boundary(self) -> float | None:
        """Logit above which an image counts as real; None if only differences of logits have a meaning."""
        return 0.0

    def accuracy(self, real: tf.Tensor, fake: tf.Tensor, generated: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the fraction of correctly classified logits or, without `boundary`, of correctly ranked pairs.

        Takes the arguments of `discriminator_terms`.
        """
        if self.boundary is None:
            return fraction(real > fake)
        of_fake = fake < self.boundary
        if generated is not None:
            of_fake = tf.where(generated, of_fake, fake > self.boundary)
        return (fraction(real > self.boundary) + fraction(of_fake)) / 2.0


def fraction(values: tf.Tensor) -> tf.Tensor:
    """Returns the fraction of boolean values that are true, as a float32 scalar."""
    return tf.reduce_mean(tf.cast(values, tf.float32))


def zero_centred_penalty(squared_norms: tf.Tensor, *, weight: float) -> tf.Tensor:
    """Returns weight/2 E[|grad D|^2] (Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9)."""
    return 0.5 * weight * tf.reduce_mean(squared_norms)


def mean_by_patch(fake: tf.Tensor, real: tf.Tensor, generated: tf.Tensor | None) -> tf.Tensor:
    """Returns the mean loss of a generated image's logits.

    Args:
        fake: Loss of each logit as that of a generated patch.
        real: Loss of each logit as that of a real patch.
        generated: Which of them are generated, bool; None means all.
    """
    return mean(fake if generated is None else tf.where(generated, fake, real))


def mean(values: tf.Tensor) -> tf.Tensor:
    """Returns the mean, computed in float32 for values of any precision."""
    return tf.reduce_mean(tf.cast(values, tf.float32))
