"""The least-squares loss (Mao et al. 2017, https://arxiv.org/abs/1611.04076, equation 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy

from ganlib.objectives.base import Objective, mean

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Terms


class LeastSquares(Objective):
    """The discriminator's targets are 1 for real images and 0 for generated ones; the generator's target is 1."""

    kind: Literal["least_squares"] = "least_squares"

    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the terms `real`, E[(D(x) - 1)^2] / 2, and `fake`, E[D(G(z))^2] / 2."""
        return {"real": mean(tf.square(real - 1.0)) / 2.0, "fake": mean(tf.square(fake)) / 2.0}

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `least_squares`, E[(D(G(z)) - 1)^2] / 2."""
        del real
        return {"least_squares": mean(tf.square(fake - 1.0)) / 2.0}

    @property
    def boundary(self) -> float | None:
        """0.5, halfway between the two targets."""
        return 0.5
