"""The losses of a Wasserstein GAN, shared by both ways of keeping the discriminator Lipschitz."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from pydantic import Field

from ganlib.objectives.base import Objective, mean

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Terms


class EarthMover(Objective, ABC):
    """A discriminator whose mean difference between real and fake estimates the Wasserstein-1 distance.

    (Arjovsky, Chintala, Bottou 2017, https://arxiv.org/abs/1701.07875, equation 2.)
    """

    discriminator_steps: int = Field(default=5, ge=1)
    """Discriminator updates for each generator update; the estimate is only good near the discriminator's optimum."""

    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor, generated: tf.Tensor | None = None) -> Terms:
        """Returns the term `wasserstein`, E[D(G(z))] - E[D(x)]: the estimated distance with its sign changed."""
        del generated  # refused by `check`
        return {"wasserstein": mean(fake) - mean(real)}

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `wasserstein`, -E[D(G(z))]."""
        del real
        return {"wasserstein": -mean(fake)}

    @property
    def boundary(self) -> float | None:
        """None, because a constant added to all outputs of the discriminator does not change the loss."""
        return None
