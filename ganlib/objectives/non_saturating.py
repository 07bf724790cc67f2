"""The non-saturating loss (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ganlib.objectives.cross_entropy import CrossEntropy, mean_log_sigmoid

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Terms


class NonSaturating(CrossEntropy):
    """The generator minimises -E[log D(G(z))], which has strong gradients where the discriminator is confident."""

    kind: Literal["non_saturating"] = "non_saturating"

    def generator_terms(self, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns the term `non_saturating`, log 2 for a discriminator that cannot tell real from fake."""
        del real
        return {"non_saturating": -mean_log_sigmoid(fake)}
