"""The game of the Wasserstein distance, shared by both ways of keeping the critic Lipschitz."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

from pydantic import Field

from ganlib.objectives.base import Objective, mean

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Discriminator, Terms


class EarthMover(Objective, ABC):
    """A critic whose mean difference between real and fake estimates the Wasserstein-1 distance.

    (Arjovsky, Chintala, Bottou 2017, https://arxiv.org/abs/1701.07875, equation 2.)
    """

    discriminator_steps: int = Field(default=5, ge=1)
    """Discriminator updates for each generator update; the estimate wants a critic near its optimum."""

    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `wasserstein`, E[D(G(z))] - E[D(x)], minus the estimated distance; see the base class."""
        return {"wasserstein": mean(discriminator(fake)) - mean(discriminator(real))}

    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `wasserstein`, -E[D(G(z))]; see the base class."""
        del real
        return {"wasserstein": -mean(discriminator(fake))}

    @property
    def boundary(self) -> float | None:
        """None: the critic is known up to a constant."""
        return None
