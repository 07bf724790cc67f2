"""The least-squares loss (Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib.objectives.base import Objective, mean, mean_by_patch

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Terms


class LeastSquares(Objective):
    """The discriminator's targets are 1 for real images and 0 for generated ones; the generator's target is 1."""

    kind: Literal["least_squares"] = "least_squares"

    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor, generated: tf.Tensor | None = None) -> Terms:
        """Returns the terms `real`, E[(D(x) - 1)^2] / 2, and `fake`, E[D(G(z))^2] / 2."""
        of_fake = mean_by_patch(tf.square(fake), tf.square(fake - 1.0), generated)
        return {"real": mean(tf.square(real - 1.0)) / 2.0, "fake": of_fake / 2.0}

    @property
    def judges_patches(self) -> bool:
        """True."""
        return True

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `least_squares`, E[(D(G(z)) - 1)^2] / 2."""
        del real
        return {"least_squares": mean(tf.square(fake - 1.0)) / 2.0}

    @property
    def boundary(self) -> float | None:
        """0.5, halfway between the two targets."""
        return 0.5
