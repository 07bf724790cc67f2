"""The Wasserstein loss with gradient penalty (Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from etils import epy
from pydantic import Field

from ganlib.objectives.earth_mover import EarthMover

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives.base import Terms

SMALL = 1e-12  # the derivative of the square root is infinite at zero


class WganGp(EarthMover):
    """Keeps the discriminator Lipschitz: a penalty pulls the norm of its gradient at interpolated images to one."""

    kind: Literal["wgan_gp"] = "wgan_gp"
    penalty_weight: float = Field(default=10.0, gt=0.0)
    """Weight of the gradient penalty, the paper's lambda."""

    def penalty_points(self, real: tf.Tensor, fake: tf.Tensor, epsilon: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns images between the real and the generated ones for the term `gradient_penalty`."""
        return {"gradient_penalty": real + epsilon[:, None, None, None] * (fake - real)}

    def penalties(self, squared_norms: Mapping[str, tf.Tensor]) -> Terms:
        """Returns the term `gradient_penalty`, lambda E[(|grad D| - 1)^2]."""
        norms = tf.sqrt(squared_norms["gradient_penalty"] + SMALL)
        return {"gradient_penalty": self.penalty_weight * tf.reduce_mean(tf.square(norms - 1.0))}

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """`gradient_penalty`."""
        return ("gradient_penalty",)
