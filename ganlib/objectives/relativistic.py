"""The relativistic loss on pairs with zero-centred penalties (Huang et al. 2024, https://arxiv.org/abs/2501.05441)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ganlib.objectives.base import Objective
from ganlib.objectives.cross_entropy import mean_log_sigmoid
from ganlib.objectives.gradients import zero_centred_penalty

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Discriminator, Terms


class Relativistic(Objective):
    """Compares each generated image with one real image (Jolicoeur-Martineau 2019, https://arxiv.org/abs/1807.00734).

    This is the loss of R3GAN. Pairs discourage dropped modes, and penalties on real and on generated images make
    training converge locally. Both losses are log 2 for a discriminator that cannot tell real from fake.
    """

    kind: Literal["relativistic"] = "relativistic"
    gamma: float = Field(default=0.1, gt=0.0)
    """Weight of the penalties R1 on real and R2 on generated images; try values that differ by a factor of four."""

    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `relativistic`, -E[log sigmoid(D(x) - D(G(z)))]."""
        return {"relativistic": -mean_log_sigmoid(discriminator(real) - discriminator(fake))}

    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `relativistic`, -E[log sigmoid(D(G(z)) - D(x))]."""
        return {"relativistic": -mean_log_sigmoid(discriminator(fake) - discriminator(real))}

    def penalties(
        self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor, interpolation: tf.Tensor
    ) -> Terms:
        """Returns the terms `r1` and `r2`, gamma/2 E[|grad D|^2] at the real and at the generated images."""
        del interpolation
        return {
            "r1": zero_centred_penalty(discriminator, real, weight=self.gamma),
            "r2": zero_centred_penalty(discriminator, fake, weight=self.gamma),
        }

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """`r1` and `r2`."""
        return "r1", "r2"

    @property
    def boundary(self) -> float | None:
        """None, because only differences of logits enter the loss."""
        return None
