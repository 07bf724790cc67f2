"""The Wasserstein game with gradient penalty (Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from etils import epy
from pydantic import Field

from ganlib.objectives.earth_mover import EarthMover
from ganlib.objectives.slopes import squared_slopes

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Discriminator, Terms

TINY = 1e-12  # the root's own slope is infinite at zero


class WganGp(EarthMover):
    """Keeps the critic Lipschitz by drawing its slope to one between real and fake images."""

    kind: Literal["wgan_gp"] = "wgan_gp"
    penalty_weight: float = Field(default=10.0, gt=0.0)
    """Weight of the gradient penalty, the paper's lambda."""

    def penalties(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor, chance: tf.Tensor) -> Terms:
        """Returns `gradient_penalty`, lambda E[(|grad D| - 1)^2] at random points between; see the base class."""
        between = real + chance[:, None, None, None] * (fake - real)
        slopes = tf.sqrt(squared_slopes(discriminator, between) + TINY)
        return {"gradient_penalty": self.penalty_weight * tf.reduce_mean(tf.square(slopes - 1.0))}

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """`gradient_penalty`."""
        return ("gradient_penalty",)
