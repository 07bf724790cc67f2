"""The relativistic pairing game with zero-centred penalties (Huang et al. 2024, https://arxiv.org/abs/2501.05441)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ganlib.objectives.base import Objective
from ganlib.objectives.cross_entropy import mean_log_sigmoid
from ganlib.objectives.slopes import zero_centred

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Discriminator, Terms


class Relativistic(Objective):
    """Each fake is judged against one real image (Jolicoeur-Martineau 2019, https://arxiv.org/abs/1807.00734).

    Pairing leaves no room for dropped modes, and the penalties on both sides make training converge locally: the
    game of R3GAN. Each loss is log 2 for an undecided discriminator.
    """

    kind: Literal["relativistic"] = "relativistic"
    gamma: float = Field(default=0.1, gt=0.0)
    """Weight of the penalties R1 on real and R2 on generated images; sweep it by factors of four."""

    def discriminator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `relativistic`, -E[log sigmoid(D(x) - D(G(z)))]; see the base class."""
        return {"relativistic": -mean_log_sigmoid(discriminator(real) - discriminator(fake))}

    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `relativistic`, -E[log sigmoid(D(G(z)) - D(x))]; see the base class."""
        return {"relativistic": -mean_log_sigmoid(discriminator(fake) - discriminator(real))}

    def penalties(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor, chance: tf.Tensor) -> Terms:
        """Returns `r1` and `r2`, gamma/2 E[|grad D|^2] on real and on generated images; see the base class."""
        del chance
        return {
            "r1": zero_centred(discriminator, real, weight=self.gamma),
            "r2": zero_centred(discriminator, fake, weight=self.gamma),
        }

    @property
    def penalty_terms(self) -> tuple[str, ...]:
        """`r1` and `r2`."""
        return "r1", "r2"

    @property
    def boundary(self) -> float | None:
        """None: only differences are judged."""
        return None
