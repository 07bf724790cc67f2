"""The original minimax loss (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ganlib.objectives.cross_entropy import CrossEntropy, mean_log_sigmoid

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Terms


class Minimax(CrossEntropy):
    """The generator minimises E[log(1 - D(G(z)))], the term `fake` of the discriminator with its sign changed.

    Its gradient vanishes where the discriminator rejects generated images with confidence, as the paper notes. Use
    `NonSaturating` instead.
    """

    kind: Literal["minimax"] = "minimax"

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `minimax`, -log 2 for a discriminator that cannot tell real from fake."""
        del real
        return {"minimax": mean_log_sigmoid(-fake)}
