"""The relativistic loss on pairs with zero-centred penalties (Huang et al. 2024, https://arxiv.org/abs/2501.05441)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ganlib.objectives.base import Objective, zero_centred_penalty
from ganlib.objectives.cross_entropy import mean_log_sigmoid

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Terms


class Relativistic(Objective):
    """Compares each generated image with one real image (Jolicoeur-Martineau 2019, https://arxiv.org/abs/1807.00734).

    This is the loss of R3GAN. Pairs discourage dropped modes, and penalties on real and on generated images make
    training converge locally. Both losses are log 2 for a discriminator that cannot tell real from fake.
    """

    kind: Literal["relativistic"] = "relativistic"
    gamma: float = Field(default=0.1, gt=0.0)
    """Weight of the penalties R1 on real and R2 on generated images; try values that differ by a factor of four."""

    def discriminator_terms(self, real: tf.Tensor, fake: tf.Tensor, generated: tf.Tensor | None = None) -> Terms:
        """Returns the term `relativistic`, -E[log sigmoid(D(x) - D(G(z)))]."""
        del generated  # refused by `check`
        return {"relativistic": -mean_log_sigmoid(real - fake)}

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `relativistic`, -E[log sigmoid(D(G(z)) - D(x))]."""
        return {"relativistic": -mean_log_sigmoid(fake - real)}

    def penalty_points(self, real: tf.Tensor, fake: tf.Tensor, epsilon: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the real images for the term `r1` and the generated ones for `r2`."""
        del epsilon
        return {"r1": real, "r2": fake}

    def penalties(self, squared_norms: Mapping[str, tf.Tensor]) -> Terms:
        """Returns the terms `r1` and `r2`, gamma/2 E[|grad D|^2] at the real and at the generated images."""
        return {name: zero_centred_penalty(squared_norms[name], weight=self.gamma) for name in self.penalty_terms}

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """`r1` and `r2`."""
        return "r1", "r2"

    @property
    def generator_uses_real(self) -> bool:
        """True: each generated image is compared with a real one."""
        return True

    @property
    def boundary(self) -> float | None:
        """None, because only differences of logits enter the loss."""
        return None
