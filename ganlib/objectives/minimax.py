"""The original minimax game (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ganlib.objectives.cross_entropy import CrossEntropy, mean_log_sigmoid

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Discriminator, Terms


class Minimax(CrossEntropy):
    """The generator minimises E[log(1 - D(G(z)))], the discriminator's own loss with its sign turned.

    The gradient vanishes where the discriminator rejects fakes with confidence, as the paper itself
    notes; `NonSaturating` is the usual choice.
    """

    kind: Literal["minimax"] = "minimax"

    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `minimax`, -log 2 for an undecided discriminator; see the base class."""
        del real
        return {"minimax": mean_log_sigmoid(-discriminator(fake))}
