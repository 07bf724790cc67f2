"""The non-saturating game (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ganlib.objectives.cross_entropy import CrossEntropy, mean_log_sigmoid

if TYPE_CHECKING:
    import tensorflow as tf

    from ganlib.objectives.base import Discriminator, Terms


class NonSaturating(CrossEntropy):
    """The generator minimises -E[log D(G(z))]: strong gradients where the discriminator is sure."""

    kind: Literal["non_saturating"] = "non_saturating"

    def generator_terms(self, discriminator: Discriminator, real: tf.Tensor, fake: tf.Tensor) -> Terms:
        """Returns `non_saturating`, log 2 for an undecided discriminator; see the base class."""
        del real
        return {"non_saturating": -mean_log_sigmoid(discriminator(fake))}
